"""`./ftgo bench compare`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.bench.commands.orders import complain
from tools.bench.report import JsonFile, PlotFile, Runs, Seed, console, in_short, new_table, show, write_json
from tools.system.process import LaunchError

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.compare import Both, Compared
    from tools.bench.machine import Surroundings
    from tools.bench.orders import Load


def compare(
    only: Annotated[
        str, typer.Option(help="Which alternatives, all by default. Several: batches of 1,polling relay.")
    ] = "",
    users: Annotated[int, typer.Option(help="Users of the closed loop.", min=1)] = 100,
    rate: Annotated[float, typer.Option(help="Orders a second of the open loop.", min=0.1)] = 20,
    seconds: Annotated[float, typer.Option(help="How long each load is measured.", min=1)] = 8,
    warm_up: Annotated[float, typer.Option(help="How long each load runs before.", min=0)] = 2,
    runs: Runs = 3,
    seed: Seed = 1,
    json_file: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Compare the system with systems in which one thing is done differently.

    A system of each alternative is started, as `./ftgo up` does except for that one thing, and all of them stay up.
    Then a closed loop and an open loop go to each in turn, so that other work on the machine affects all of them alike.

    Example: `./ftgo bench compare --only "batches of 1,polling relay" --runs 1`
    """
    from tools.bench.compare import ALTERNATIVES, AS_IT_IS, summarized
    from tools.bench.orders import Load

    named = [each.strip() for each in only.split(",") if each.strip()] or list(ALTERNATIVES)
    if unknown := [each for each in named if each not in ALTERNATIVES]:
        raise LaunchError(f"there is no {', '.join(unknown)}: {', '.join(ALTERNATIVES)}")
    names = list(dict.fromkeys([AS_IT_IS, *named]))
    loads = [Load(users=users), Load(rate=rate)]
    where, compared = asyncio.run(_compare(names, loads, runs, seed, warm_up, seconds))
    summaries = summarized(compared)
    show(where, _table(summaries))
    options = {"seed": seed, "warm_up": warm_up, "seconds": seconds, "runs": runs}
    kept = {name: asdict(both) for name, both in summaries.items()}
    write_json(json_file, where, options | {"summaries": kept}, compared)
    if plot is not None:
        from tools.bench.plot import draw_compared

        draw_compared(summaries, f"One thing done differently; {in_short(where)}", plot)
    if complain([each.measured for each in compared]):
        raise typer.Exit(1)


async def _compare(
    names: Sequence[str], loads: "Sequence[Load]", runs: int, seed: int, warm_up: float, seconds: float
) -> "tuple[Surroundings, list[Compared]]":
    from tools.bench.compare import AS_IT_IS, compare, side_by_side
    from tools.bench.machine import surroundings

    compared = []
    async with side_by_side(names) as systems:
        where = await surroundings(systems[AS_IT_IS].system)
        async for each in compare(systems, loads, runs, seed, warm_up, seconds):
            compared.append(each)
            measured = each.measured
            console.print(
                f"[dim]run {measured.number}, {measured.load}, {each.alternative}:[/] {measured.a_second:g}/s"
            )
    return where, compared


def _table(summaries: "Mapping[str, Both]") -> Table:
    """Throughput and CPU of the closed loop, latencies of the open loop."""
    table = new_table("Approved orders; milliseconds, the median of the runs (least to most)")
    first = next(iter(summaries.values()))
    table.add_column("")
    for title in (f"{first.closed.load}: orders/s", "CPU an order", f"{first.open.load}: p50", "p99", "CPU an order"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, both in summaries.items():
        latency = both.open.latencies["saga"]
        cells = (both.closed.a_second, both.closed.cpu, latency.get("p50", ""), latency.get("p99", ""), both.open.cpu)
        table.add_row(name, *map(str, cells))
    return table
