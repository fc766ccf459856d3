"""`./ftgo bench relay`."""

import asyncio
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.bench.report import (
    JsonFile,
    Runs,
    Seed,
    add_latency_columns,
    console,
    latency_cells,
    new_table,
    show,
    write_json,
)

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.machine import Surroundings
    from tools.bench.relay import Measured


def relay(
    rate: Annotated[float, typer.Option(help="Messages a second, of which the latency is measured.", min=0.1)] = 50,
    seconds: Annotated[float, typer.Option(help="How long.", min=0.1)] = 20,
    backlog: Annotated[int, typer.Option(help="Rows that wait in the outbox when the relay is started.", min=20)] = (
        100_000
    ),
    runs: Runs = 1,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure the relay: from a commit to a subscriber, and how fast a backlog is published.

    It starts the whole system, durable, and stops the services. Events with all their headers are committed through the
    services' outbox, one per transaction, at a fixed rate. Their latency counts from the moment when COMMIT is sent to
    the moment when a stream reader like the services' own delivers them. Then a backlog is written while the relay is
    stopped. The time to drain it is the time between its first and last message in the stream.

    Example: `./ftgo bench relay --rate 50 --seconds 60 --runs 3`
    """
    where, measured = asyncio.run(_measure(rate, seconds, backlog, runs, seed))
    show(where, _latency_table(measured), _drain_table(measured))
    options = {"seed": seed, "rate": rate, "seconds": seconds, "backlog": backlog, "runs": runs}
    write_json(json_file, where, options, measured)


async def _measure(
    rate: float, seconds: float, backlog: int, runs: int, seed: int
) -> "tuple[Surroundings, list[Measured]]":
    from tools.bench.machine import surroundings
    from tools.bench.relay import measure, take_services_down
    from tools.bench.running import running

    measured = []
    async with running() as system:
        await take_services_down(system)
        where = await surroundings(system.system)
        for number in range(1, runs + 1):
            measured.append(await measure(system, number, seed, rate, seconds, backlog))
            console.print(f"[dim]run {number}:[/] {measured[-1].a_second:,.0f}/s")
    return where, measured


def _latency_table(measured: "Sequence[Measured]") -> Table:
    table = new_table("Milliseconds, the median of the runs (least to most)")
    table.add_column("")
    add_latency_columns(table)
    table.add_row("COMMIT", *latency_cells([each.commit for each in measured]))
    table.add_row("from COMMIT to a subscriber", *latency_cells([each.to_subscriber for each in measured]))
    return table


def _drain_table(measured: "Sequence[Measured]") -> Table:
    from tools.bench.figures import Spread

    like = measured[-1]
    table = new_table(f"A backlog of {like.drained:,} rows with {like.headers} headers, {like.bytes} bytes each")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("messages/s", str(Spread.of([each.a_second for each in measured])))
    for part in like.cpu:
        table.add_row(f"CPU of {part}, µs a message", f"{mean(each.cpu[part] for each in measured):.1f}")
    return table
