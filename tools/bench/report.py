"""What the commands have in common: options, tables on screen, and the file with all figures."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tools.system.process import LaunchError
from tools.terminal import Terminal

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.figures import Latency
    from tools.bench.machine import Surroundings

Runs = Annotated[int, typer.Option(help="How often all of it is run, one after another.", min=1)]
Seed = Annotated[int, typer.Option(help="Random choices follow from this number.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Where all figures go.", dir_okay=False)]
PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", help="Where the picture goes, such as docs/benchmarks/orders.svg.", dir_okay=False),
]

_WIDTH = 150
"""The least width of a table, even if the terminal is narrower or unknown."""

console = Terminal()


def new_table(title: str) -> Table:
    """Return an empty table with a title."""
    return Table(box=None, header_style="dim", title=title, title_justify="left", title_style="bold")


def add_latency_columns(table: Table) -> None:
    """Add a column for each share (percentile) of the latencies."""
    from tools.bench.figures import Latency

    for share in Latency.SHARES:
        table.add_column(share.replace("_", "."), justify="right", no_wrap=True)


def latency_cells(runs: "Sequence[Latency | None]") -> list[str]:
    """Return the cells of the latency columns, from at least one run."""
    from tools.bench.figures import Latency, Spread

    there = [each for each in runs if each is not None]
    return [str(Spread.of([getattr(each, share) for each in there])) for share in Latency.SHARES] if there else []


def show(where: "Surroundings", *tables: Table) -> None:
    """Print the tables, and where the figures were measured."""
    wide = Terminal(width=max(console.width, _WIDTH))
    for table in tables:
        wide.print(table, "")
    wide.print(_told(where))


def in_short(where: "Surroundings") -> str:
    """Return where the figures were measured, in the form for a picture's title."""
    settings = where.settings
    return (
        f"{where.cores} cores, load {where.load:g} before; fsync {settings['fsync']},"
        f" synchronous_commit {settings['synchronous_commit']}, sync_interval {settings['JetStream sync_interval']}"
    )


def _told(where: "Surroundings") -> str:
    """Describes in a few lines where the figures were measured."""
    versions, settings = (", ".join(f"{k} {v}" for k, v in each.items()) for each in (where.versions, where.settings))
    machine = f"{where.machine}; {where.cores} cores, {where.memory_gb:g} GB, load {where.load:g} before"
    machine += f", {where.python_ms:g} ms for a fixed piece of Python"
    return f"{machine}.\n{versions}.\n{settings}."


def write_json(file: Path | None, where: "Surroundings", options: dict[str, Any], results: Sequence[Any]) -> None:
    """Write all figures to the file, if there is one, with what they depend on."""
    if file is None:
        return
    from tools.bench.machine import command_line

    run = {"command": command_line(), **options, **asdict(where), "results": [asdict(each) for each in results]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1) + "\n")


def numbers(text: str, option: str, *, whole: bool = False, most: float = 100_000) -> list[float]:
    """Return the numbers of a list such as `1,10,100`. LaunchError."""
    found = []
    for word in filter(None, (each.strip() for each in text.split(","))):
        try:
            number = float(int(word) if whole else float(word))
        except ValueError:
            number = 0.0
        if not 0 < number <= most:
            what = "whole numbers" if whole else "numbers"
            raise LaunchError(f"{option} is a list of {what} from above 0 to {most:,.0f}: not {word!r}")
        found.append(number)
    return found
