"""The commands `./ftgo bench …`."""

import typer

from shared.runtime.bench.commands.compare import compare
from shared.runtime.bench.commands.orders import orders
from shared.runtime.bench.commands.relay import relay

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure a system of its own on this machine, with everything on it, the load generator included.",
)
for each in (orders, compare, relay):
    bench.command()(each)
