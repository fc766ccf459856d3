"""The commands `./ftgo bench …`."""

import typer

from tools.bench.commands.check import group
from tools.bench.commands.compare import compare
from tools.bench.commands.growth import growth
from tools.bench.commands.history import history
from tools.bench.commands.orders import orders
from tools.bench.commands.relay import relay
from tools.bench.commands.start import start
from tools.bench.commands.store import store

bench = typer.Typer(no_args_is_help=True, invoke_without_command=True, callback=group)
for each in (orders, growth, compare, relay, store, history, start):
    bench.command()(each)
