"""The commands `./ftgo bench …`."""

import typer

from shared.runtime.bench.commands.check import group
from shared.runtime.bench.commands.compare import compare
from shared.runtime.bench.commands.growth import growth
from shared.runtime.bench.commands.history import history
from shared.runtime.bench.commands.orders import orders
from shared.runtime.bench.commands.relay import relay
from shared.runtime.bench.commands.start import start
from shared.runtime.bench.commands.store import store

bench = typer.Typer(no_args_is_help=True, invoke_without_command=True, callback=group)
for each in (orders, growth, compare, relay, store, history, start):
    bench.command()(each)
