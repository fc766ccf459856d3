"""The commands `./ftgo bench …`."""

import typer

from shared.runtime.bench.commands.orders import orders

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure a system of its own on this machine, with everything on it, the load generator included.",
)
bench.command()(orders)


@bench.callback()
def _group() -> None:
    """Without it, typer would make the only command the group itself."""
