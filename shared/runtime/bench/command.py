"""The commands `./ftgo bench …`."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.runtime.process import LaunchError

if TYPE_CHECKING:  # a command line that only prints its help need not load all that services are made of
    from shared.runtime.bench.machine import Surroundings
    from shared.runtime.bench.orders import Load, Measured

_WIDTH = 150
"""Of a table, also where no terminal says how wide it is."""

console = Console(highlight=False)

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure a system of its own on this machine, with everything on it, the load generator included.",
)


@bench.callback()
def _group() -> None:
    """Without it, typer would make the only command the group itself."""


@bench.command()
def orders(
    users: Annotated[
        str, typer.Option(help="Closed loops: how many users, each with one order at a time. Several: 1,10,100.")
    ] = "1,10,100",
    rates: Annotated[str, typer.Option(help="Open loops: how many orders a second. Several: 20,100,300.")] = "20,100",
    seconds: Annotated[float, typer.Option(help="How long each load is measured.", min=1)] = 20,
    warm_up: Annotated[float, typer.Option(help="How long each load runs before.", min=0)] = 3,
    runs: Annotated[int, typer.Option(help="How often all loads are run, one after another.", min=1)] = 1,
    mix: Annotated[
        bool, typer.Option("--mix", help="60 % create, 15 % cancel, 15 % revise, 10 % rejected; counted in sagas.")
    ] = False,
    seed: Annotated[int, typer.Option(help="What is drawn by lot follows from this number.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where all figures go.", dir_okay=False)] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Where the picture goes, such as docs/benchmarks/orders.svg.", dir_okay=False)
    ] = None,
) -> None:
    """Measure orders from the request to Approved: how many a second, how long each takes, what it costs.

    It starts the whole system as `./ftgo up` does, durable, in a temporary folder and on free ports. In a closed loop
    each user orders again when the order is Approved. In an open loop orders come at a rate whatever happens, and
    latencies count from the moment at which the order was meant to be sent. That an order is Approved is seen in NATS.
    The exit code is 0 only when every order was taken and came to its end.

    Examples: `./ftgo bench orders --users 100 --rates "" --seconds 60 --runs 3`   `./ftgo bench orders --mix`
    """
    from shared.runtime.bench.orders import Load

    loads = [Load(users=int(each), mix=mix) for each in _numbers(users, "--users", whole=True)]
    loads += [Load(rate=each, mix=mix) for each in _numbers(rates, "--rates")]
    if not loads:
        raise LaunchError("there is nothing to run: say --users or --rates")
    where, measured = asyncio.run(_measure(loads, runs, seed, warm_up, seconds))
    wide = Console(highlight=False, width=max(console.width, _WIDTH))
    wide.print(_orders_table(loads, measured, mix), "", _cost_table(loads, measured), "", _told(where))
    if json_file is not None:
        options = {"seed": seed, "warm_up": warm_up, "seconds": seconds, "runs": runs}
        _write_json(json_file, where, options, measured)
    if plot is not None:
        from shared.runtime.bench.plot import draw_orders

        plot.parent.mkdir(parents=True, exist_ok=True)
        draw_orders(measured, f"{'Mixed sagas' if mix else 'Orders'}; {_in_short(where)}", plot)
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


def _numbers(text: str, option: str, *, whole: bool = False) -> list[float]:
    """Return the numbers of a list such as `1,10,100`. LaunchError."""
    numbers = []
    for word in filter(None, (each.strip() for each in text.split(","))):
        try:
            number = float(int(word) if whole else float(word))
        except ValueError:
            number = 0.0
        if not 0 < number <= 100_000:
            raise LaunchError(f"{option} is a list of {'whole ' if whole else ''}numbers above 0: not {word!r}")
        numbers.append(number)
    return numbers


def _orders_table(loads: "Sequence[Load]", measured: "Sequence[Measured]", mix: bool) -> Table:
    """Each load's throughput and latencies: the median of the runs, and the spread of the throughput."""
    from shared.runtime.bench.figures import Spread

    table = Table(box=None, header_style="dim", title_justify="left", title_style="bold")
    table.title = "From the request to the saga's end; milliseconds, the median of the runs (least to most)"
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

    table = Table(box=None, header_style="dim", title_justify="left", title_style="bold")
    table.title = "CPU for each saga in milliseconds, mean batch sizes, memory (PSS)"
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


def _in_short(where: "Surroundings") -> str:
    settings = where.settings
    return (
        f"{where.cores} cores, load {where.load:g} before; fsync {settings['fsync']},"
        f" synchronous_commit {settings['synchronous_commit']}, sync_interval {settings['JetStream sync_interval']}"
    )


def _told(where: "Surroundings") -> str:
    """Where it was measured, in a few lines."""
    versions, settings = (", ".join(f"{k} {v}" for k, v in each.items()) for each in (where.versions, where.settings))
    machine = f"{where.machine}; {where.cores} cores, {where.memory_gb:g} GB, load {where.load:g} before"
    return f"{machine}.\n{versions}.\n{settings}."


def _write_json(file: Path, where: "Surroundings", options: dict[str, Any], results: "Sequence[Measured]") -> None:
    from shared.runtime.bench.machine import command_line

    run = {"command": command_line(), **options, **asdict(where), "results": [asdict(each) for each in results]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1) + "\n")
