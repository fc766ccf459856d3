"""`./ftgo bench store`."""

import asyncio
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.bench.report import (
    JsonFile,
    PlotFile,
    Runs,
    add_latency_columns,
    in_short,
    latency_cells,
    new_table,
    numbers,
    show,
    write_json,
)

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.machine import Surroundings
    from tools.bench.store import Measured


def store(
    sizes: Annotated[str, typer.Option(help="How many events the orders have that are loaded.")] = (
        "10,50,100,1000,10000"
    ),
    orders: Annotated[int, typer.Option(help="Delivered orders, of five events each, for the rebuild.", min=1)] = (
        20_000
    ),
    runs: Runs = 1,
    json_file: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Measure the event store: appending, loading with and without snapshots, and rebuilding a read model.

    It starts the whole system, durable. `./ftgo rebuild order_history` runs beside it on the stored events of many
    orders, and is measured from its program's start to its end. Then the services and the relay are stopped, and the
    order service's units of work append to orders and load them.

    Example: `./ftgo bench store --runs 3 --json docs/benchmarks/store.json`
    """
    counts = [int(each) for each in numbers(sizes, "--sizes", whole=True)]
    where, measured = asyncio.run(_measure(runs, counts, orders))
    show(where, _rebuild_table(measured), _append_table(measured), _load_table(measured))
    write_json(json_file, where, {"sizes": counts, "orders": orders, "runs": runs}, measured)
    if plot is not None:
        from tools.bench.plot import draw_store

        draw_store(measured, f"Event store; {in_short(where)}", plot)


async def _measure(runs: int, sizes: "Sequence[int]", orders: int) -> "tuple[Surroundings, list[Measured]]":
    from tools.bench.machine import surroundings
    from tools.bench.running import running
    from tools.bench.store import measure

    async with running() as system:
        where = await surroundings(system.system)
        return where, await measure(system, runs, sizes, orders)


def _rebuild_table(measured: "Sequence[Measured]") -> Table:
    from tools.bench.figures import Spread

    runs = [each.rebuilt for each in measured]
    table = new_table(f"A read model rebuilt from {runs[0].events:,} events; the median of the runs (least to most)")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("events/s", str(Spread.of([each.a_second for each in runs])))
    table.add_row("seconds in all", str(Spread.of([each.seconds for each in runs])))
    for part in runs[0].cpu:
        table.add_row(f"CPU of {part}, µs an event", f"{mean(each.cpu[part] for each in runs):.1f}")
    return table


def _append_table(measured: "Sequence[Measured]") -> Table:
    table = new_table("Units of work that append to an order; milliseconds, the median of the runs (least to most)")
    table.add_column("events", justify="right")
    add_latency_columns(table)
    for row in zip(*(each.appended for each in measured), strict=True):
        table.add_row(f"{row[0].events}", *latency_cells([each.latency for each in row]))
    return table


def _load_table(measured: "Sequence[Measured]") -> Table:
    table = new_table("Units of work that load an order; milliseconds, the median of the runs (least to most)")
    table.add_column("events", justify="right")
    table.add_column("")
    add_latency_columns(table)
    for row in zip(*(each.loaded for each in measured), strict=True):
        table.add_row(f"{row[0].events:,}", "by its snapshot", *latency_cells([each.with_snapshot for each in row]))
        table.add_row("", "without", *latency_cells([each.without for each in row]))
    return table
