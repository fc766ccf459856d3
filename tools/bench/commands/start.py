"""`./ftgo bench start`."""

import asyncio
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.bench.report import JsonFile, Runs, Seed, console, new_table, show, write_json

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.machine import Surroundings
    from tools.bench.start import Measured


def start(
    seconds: Annotated[float, typer.Option(help="How long orders are taken between the two starts.", min=1)] = 20,
    runs: Runs = 1,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure the start: how long `./ftgo up` takes until all is ready, and the memory of each part.

    Each run begins with an empty folder: PostgreSQL's data and all databases are created. Then orders are taken, and
    memory is measured under load. Then the system is started again with the existing data. The time is from the command
    to the line that says that it is ready. Memory is proportional: what processes share counts once.

    Example: `./ftgo bench start --runs 3`
    """
    where, measured = asyncio.run(_measure(seconds, runs, seed))
    show(where, _time_table(measured), _memory_table(measured))
    write_json(json_file, where, {"seed": seed, "seconds": seconds, "runs": runs}, measured)


async def _measure(seconds: float, runs: int, seed: int) -> "tuple[Surroundings, list[Measured]]":
    from tools.bench.running import temporary_folder
    from tools.bench.start import measure

    measured = []
    for number in range(1, runs + 1):
        with temporary_folder() as folder:
            one, where = await measure(folder, number, seed, seconds)
        measured.append(one)
        console.print(
            f"[dim]run {number}:[/] {one.empty.seconds:g} s, {one.used.seconds:g} s after {one.orders} orders"
        )
    return where, measured


def _time_table(measured: "Sequence[Measured]") -> Table:
    from tools.bench.figures import Spread

    table = new_table("Seconds until all is ready, the median of the runs (least to most)")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("with nothing there", str(Spread.of([each.empty.seconds for each in measured])))
    orders = Spread.of([each.orders for each in measured])
    table.add_row(f"after {orders} orders", str(Spread.of([each.used.seconds for each in measured])))
    return table


def _memory_table(measured: "Sequence[Measured]") -> Table:
    table = new_table("Memory in MB (PSS), the mean of the runs")
    for column in ("", "ready, nothing there", "under load", "ready, after orders"):
        table.add_column(column, justify="right" if column else "left")
    looks = [
        [each.empty.memory for each in measured],
        [each.loaded for each in measured],
        [each.used.memory for each in measured],
    ]
    for part in measured[0].empty.memory:
        table.add_row(part, *(f"{mean(each[part] for each in runs) / 1e6:.0f}" for runs in looks))
    table.add_row("all", *(f"{mean(sum(each.values()) for each in runs) / 1e6:.0f}" for runs in looks), style="bold")
    return table
