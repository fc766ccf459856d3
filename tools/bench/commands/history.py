"""`./ftgo bench history`."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.bench.report import JsonFile, PlotFile, Runs, Seed, console, in_short, new_table, show, write_json

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.history import Measured
    from tools.bench.machine import Surroundings


def history(
    orders: Annotated[int, typer.Option(help="How many orders the history has.", min=100)] = 1_000_000,
    runs: Runs = 1,
    seed: Seed = 1,
    json_file: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Measure the order history's search among very many orders: by filter, the first page and the hundredth.

    It starts the whole system, durable, and writes orders into the history's tables. A fifth of them belong to ten
    consumers, whose lists have a hundred pages of 20. Searches run one after another, in the service's own code and
    over HTTP.

    Example: `./ftgo bench history --orders 1000000 --json docs/benchmarks/history.json`
    """
    where, measured = asyncio.run(_measure(orders, runs, seed))
    show(where, _table(orders, measured))
    write_json(json_file, where, {"seed": seed, "orders": orders, "runs": runs}, measured)
    if plot is not None:
        from tools.bench.plot import draw_history

        draw_history(measured, f"Search among {orders:,} orders; {in_short(where)}", plot)


async def _measure(orders: int, runs: int, seed: int) -> "tuple[Surroundings, list[Measured]]":
    from tools.bench.history import History, fill, measure
    from tools.bench.machine import surroundings
    from tools.bench.running import running

    measured = []
    async with running() as system:
        where = await surroundings(system.system)
        console.print(f"[dim]writing {orders:,} orders[/]")
        written = History(orders, seed)
        await fill(system, written)
        for number in range(1, runs + 1):
            console.print(f"[dim]run {number}[/]")
            measured += await measure(system, written, number, seed)
    return where, measured


def _table(orders: int, measured: "Sequence[Measured]") -> Table:
    from tools.bench.figures import Spread

    table = new_table(f"Pages of 20 of one consumer's among {orders:,} orders; milliseconds, the median of the runs")
    table.add_column("filter")
    table.add_column("")
    for what in ("first p50", "p99", "100th p50", "p99", "any p50", "p99", "max"):
        table.add_column(what, justify="right")
    for filter_, way in dict.fromkeys((each.filter, each.way) for each in measured):
        own = [each for each in measured if (each.filter, each.way) == (filter_, way)]
        cells = []
        for latencies, shares in (
            ([each.first for each in own], ("p50", "p99")),
            ([each.far for each in own], ("p50", "p99")),
            ([each.any for each in own], ("p50", "p99", "max")),
        ):
            there = [each for each in latencies if each is not None]
            cells += [
                f"{Spread.of([getattr(each, share) for each in there]).median:.1f}" if there else "" for share in shares
            ]
        table.add_row(filter_, way, *cells)
    return table
