"""The commands `./ftgo bench …`."""

import typer

from shared.runtime.bench.commands.check import group
from shared.runtime.bench.commands.compare import compare
from shared.runtime.bench.commands.growth import growth
from shared.runtime.bench.commands.orders import orders
from shared.runtime.bench.commands.relay import relay

bench = typer.Typer(no_args_is_help=True, invoke_without_command=True, callback=group)
for each in (orders, growth, compare, relay):
    bench.command()(each)
