"""`./ftgo bench orders`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared.runtime.bench.report import (
    JsonFile,
    PlotFile,
    Runs,
    Seed,
    console,
    in_short,
    new_table,
    numbers,
    show,
    write_json,
)
from shared.runtime.process import LaunchError

if TYPE_CHECKING:  # a command line that only prints its help need not load all that services are made of
    from shared.runtime.bench.machine import Surroundings
    from shared.runtime.bench.orders import Load, Measured


def orders(
    users: Annotated[
        str, typer.Option(help="Closed loops: how many users, each with one order at a time. Several: 1,10,100.")
    ] = "1,10,100",
    rates: Annotated[str, typer.Option(help="Open loops: how many orders a second. Several: 20,100,300.")] = "20,100",
    seconds: Annotated[float, typer.Option(help="How long each load is measured.", min=1)] = 20,
    warm_up: Annotated[float, typer.Option(help="How long each load runs before.", min=0)] = 3,
    runs: Runs = 1,
    mix: Annotated[
        bool, typer.Option("--mix", help="60 % create, 15 % cancel, 15 % revise, 10 % rejected; counted in sagas.")
    ] = False,
    seed: Seed = 1,
    json_file: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Measure orders from the request to Approved: how many a second, how long each takes, what it costs.

    It starts the whole system as `./ftgo up` does, durable, in a temporary folder and on free ports. In a closed loop
    each user orders again when the order is Approved. In an open loop orders come at a rate whatever happens, and
    latencies count from the moment at which the order was meant to be sent. That an order is Approved is seen in NATS.
    The exit code is 0 only when every order was taken and came to its end.

    Examples: `./ftgo bench orders --users 100 --rates "" --seconds 60 --runs 3`   `./ftgo bench orders --mix`
    """
    from shared.runtime.bench.orders import Load

    loads = [Load(users=int(each), mix=mix) for each in numbers(users, "--users", whole=True)]
    loads += [Load(rate=each, mix=mix) for each in numbers(rates, "--rates")]
    if not loads:
        raise LaunchError("there is nothing to run: say --users or --rates")
    where, measured = asyncio.run(_measure(loads, runs, seed, warm_up, seconds))
    show(where, _orders_table(loads, measured, mix), _cost_table(loads, measured))
    options = {"seed": seed, "warm_up": warm_up, "seconds": seconds, "runs": runs}
    write_json(json_file, where, options, measured)
    if plot is not None:
        from shared.runtime.bench.plot import draw_orders

        plot.parent.mkdir(parents=True, exist_ok=True)
        draw_orders(measured, f"{'Mixed sagas' if mix else 'Orders'}; {in_short(where)}", plot)
    failed = False
    for each in measured:
        for what, count in {**each.failures, "did not end": each.unended}.items():
            if count:
                failed = True
                console.print(f"[red]{each.load}, run {each.number}:[/] {count} orders: {what}")
    if failed:
        raise typer.Exit(1)


async def _measure(
    loads: "Sequence[Load]", runs: int, seed: int, warm_up: float, seconds: float
) -> "tuple[Surroundings, list[Measured]]":
    from shared.runtime.bench.machine import surroundings
    from shared.runtime.bench.orders import measure
    from shared.runtime.bench.running import running

    measured = []
    async with running() as system:
        where = await surroundings(system.system)
        for number in range(1, runs + 1):
            for load in loads:
                measured.append(await measure(system, load, number, seed, warm_up, seconds))
                console.print(f"[dim]run {number}, {load}:[/] {measured[-1].a_second:g}/s")
    return where, measured


def _orders_table(loads: "Sequence[Load]", measured: "Sequence[Measured]", mix: bool) -> Table:
    """Each load's throughput and latencies: the median of the runs, and the spread of the throughput."""
    from shared.runtime.bench.figures import Spread

    table = new_table("From the request to the saga's end; milliseconds, the median of the runs (least to most)")
    table.add_column("")
    table.add_column("sagas/s" if mix else "approved/s", justify="right")
    for what in ("HTTP", "to the end" if mix else "to Approved"):
        for share in ("p50", "p90", "p99", "p99.9", "max"):
            table.add_column(f"{what} {share}" if share == "p50" else share, justify="right")
    for load in loads:
        own = [each for each in measured if each.load == load]
        cells = [str(Spread.of([each.a_second for each in own]))]
        for latencies in ([each.http for each in own], [each.end_to_end for each in own]):
            there = [asdict(each) for each in latencies if each is not None]
            cells += [
                f"{Spread.of([each[share] for each in there]).median:.1f}" if there else ""
                for share in ("p50", "p90", "p99", "p99_9", "max")
            ]
        table.add_row(str(load), *cells)
    return table


def _cost_table(loads: "Sequence[Load]", measured: "Sequence[Measured]") -> Table:
    """What each part takes: CPU for each saga, mean batches, and memory after the last run."""
    from statistics import mean

    table = new_table("CPU for each saga in milliseconds, mean batch sizes, memory (PSS)")
    table.add_column("")
    for load in loads:
        table.add_column(str(load), justify="right")
    table.add_column("memory", justify="right")
    own = [[each for each in measured if each.load == load] for load in loads]
    memory = measured[-1].memory
    for part in measured[0].cpu:
        means = (mean(each.cpu.get(part, 0.0) for each in runs) for runs in own)
        size = f"{memory[part] / 1e6:.0f} MB" if part in memory else ""
        table.add_row(part, *(f"{each:.2f}" for each in means), size)
    sums = (mean(each.cpu_in_all for each in runs) for runs in own)
    table.add_row("all", *(f"{each:.2f}" for each in sums), f"{sum(memory.values()) / 1e6:.0f} MB", style="bold")
    for what in dict.fromkeys(name for each in measured for name in each.batches):
        sizes = ([each.batches[what] for each in runs if what in each.batches] for runs in own)
        table.add_row(f"batch of {what}", *(f"{mean(each):.1f}" if each else "" for each in sizes), style="dim")
    return table
