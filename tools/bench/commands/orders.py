"""`./ftgo bench orders`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.bench.report import (
    JsonFile,
    PlotFile,
    Runs,
    Seed,
    add_latency_columns,
    console,
    in_short,
    new_table,
    numbers,
    show,
    write_json,
)
from tools.system.process import LaunchError

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.machine import Surroundings
    from tools.bench.orders import Load, Measured, Summary

_SPREADS = ("p50", "p99")
"""Shares for which the table shows the spread of the runs; the file shows it for all."""


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
    reads: Annotated[
        bool, typer.Option("--reads", help="After each saga, read the order, and its consumer's history.")
    ] = False,
    seed: Seed = 1,
    json_file: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Measure orders from the request to Approved: how many per second, how long each takes, what it costs.

    It starts the whole system as `./ftgo up` does, durable, in a temporary folder and on free ports. In a closed loop
    each user orders again when the order is Approved. In an open loop orders are sent at a fixed rate, and latencies
    count from the moment at which the order was meant to be sent. The generator sees in NATS that an order is Approved.
    Every request that changes something has an idempotency key. The exit code is 0 only when every order was taken and
    came to its end, and with --mix, when all invariants of `./ftgo verify` hold afterwards.

    Examples: `./ftgo bench orders --users 100 --rates "" --seconds 60 --runs 3`   `./ftgo bench orders --mix --reads`
    """
    from tools.bench.orders import Load, Summary

    loads = [Load(users=int(each), mix=mix, reads=reads) for each in numbers(users, "--users", whole=True)]
    loads += [Load(rate=each, mix=mix, reads=reads) for each in numbers(rates, "--rates")]
    if not loads:
        raise LaunchError("there is nothing to run: say --users or --rates")
    where, measured = asyncio.run(_measure(loads, runs, seed, warm_up, seconds))
    summaries = [Summary.of([each for each in measured if each.load == load]) for load in loads]
    show(where, _orders_table(summaries, mix), cost_table(loads, measured))
    options = {"seed": seed, "warm_up": warm_up, "seconds": seconds, "runs": runs}
    write_json(json_file, where, options | {"summaries": [asdict(each) for each in summaries]}, measured)
    if plot is not None:
        from tools.bench.plot import draw_orders

        draw_orders(measured, f"{'Mixed sagas' if mix else 'Orders'}; {in_short(where)}", plot)
    if complain(measured):
        raise typer.Exit(1)


def complain(measured: "Sequence[Measured]") -> bool:
    """Print what was refused, failed, or did not end; returns whether there was anything."""
    failed = False
    for each in measured:
        for what, count in {**each.failures, "did not end": each.unended}.items():
            if count:
                failed = True
                console.print(f"[red]{each.load}, run {each.number}:[/] {count} orders: {what}")
    return failed


async def _measure(
    loads: "Sequence[Load]", runs: int, seed: int, warm_up: float, seconds: float
) -> "tuple[Surroundings, list[Measured]]":
    from tools.bench.machine import surroundings
    from tools.bench.orders import measure
    from tools.bench.running import running

    measured = []
    async with running() as system:
        where = await surroundings(system.system)
        for number in range(1, runs + 1):
            for load in loads:
                measured.append(await measure(system, load, number, seed, warm_up, seconds))
                console.print(f"[dim]run {number}, {load}:[/] {measured[-1].a_second:g}/s")
        if any(load.mix for load in loads):
            await system.verify()
            console.print("[dim]nothing is stuck, and all invariants hold[/]")
    return where, measured


def _orders_table(summaries: "Sequence[Summary]", mix: bool) -> Table:
    """The throughput and latencies of each load."""
    table = new_table("From the request to the saga's end; milliseconds, the median of the runs (least to most)")
    table.add_column("")
    table.add_column("sagas/s" if mix else "approved/s", justify="right")
    table.add_column("")
    add_latency_columns(table)
    names = {
        "HTTP": "answered",
        "saga": "ended" if mix else "Approved",
        "order": "order read",
        "history": "history read",
    }
    for summary in summaries:
        head = [str(summary.load), str(summary.a_second)]
        for what, spreads in summary.latencies.items():
            cells = (str(each) if share in _SPREADS else f"{each.median:,.4g}" for share, each in spreads.items())
            table.add_row(*head, names[what], *cells)
            head = ["", ""]
    return table


def cost_table(loads: "Sequence[Load]", measured: "Sequence[Measured]") -> Table:
    """What each part needs: CPU per saga, mean batch sizes, and memory after the last run."""
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
