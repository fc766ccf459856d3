"""The command `./ftgo soak`."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.table import Table

from tools.demo.api import Api, Unexpected
from tools.system.process import LaunchError
from tools.system.system import ROOT, Arrangement
from tools.terminal import Terminal, as_text

if TYPE_CHECKING:  # printing the help must not load all the packages of the services
    from tools.bench.plan import Plan
    from tools.bench.running import Running
    from tools.soak.samples import Sample

_ORDERS_OF_EACH = 10
_MAX_CONSUMERS = 1000
_CONSUMERS_OF_EACH = 10
_DELIVERIES = 4
"""Clients whose orders are delivered."""
_VACUUM_SECONDS = 15.0
_REACH_BACK_SECONDS = 120.0
"""The relay keeps what it has published for at least this long. A transaction may be open for half of it."""
_EVERY_SECONDS = 90.0
"""The longest time until expired rows are deleted and their room can be used again."""

console = Terminal()


def soak(
    orders: Annotated[int, typer.Option(help="How many orders.", min=1)] = 100_000,
    users: Annotated[int, typer.Option(help="How many users order, each with one order at a time.", min=1)] = 200,
    retention: Annotated[
        float,
        typer.Option(help="Seconds that outbox and stream keep messages; the rest is kept longer.", min=5),
    ] = 30,
    every: Annotated[float, typer.Option(help="Seconds between two looks at sizes and memory.", min=1)] = 10,
    output: Annotated[Path, typer.Option(help="Where the samples (.json) and the picture (.svg) go.")] = ROOT
    / "docs/soak",
) -> None:
    """Run the whole system for long, with short retentions, and check that temporary data does not grow.

    It starts a system of its own in a temporary folder and on free ports, and lets users place, cancel and revise
    orders, one in ten of which is rejected, and a few see theirs delivered. Every few seconds it looks at the sizes of
    all tables, of the write-ahead log and of the stream, and at the memory of every process. At the end it checks what
    `./ftgo verify` checks. The samples taken after all retentions have passed are split into two halves: something
    grows if it took more in the second half than in the first, by a fifth and some slack. The exit code is 0 only when
    nothing but the state grows, and all invariants hold.

    Examples: `./ftgo soak`   `./ftgo soak --orders 10000 --users 8 --output /tmp/soak`
    """
    if wrong := asyncio.run(_soak(orders, users, retention, every, output)):
        for each in wrong:
            console.print(f"[red]{as_text(each)}[/]", soft_wrap=True)
        raise typer.Exit(1)
    console.print("Nothing has grown that must not, and all invariants hold.")


async def _soak(orders: int, users: int, retention: float, every: float, output: Path) -> list[str]:
    """Run the soak test, and return what has grown that must not. Raises LaunchError for any other failure."""
    from tools.bench.machine import command_line, surroundings
    from tools.bench.running import running
    from tools.soak.plot import draw

    settled = _settled(retention)
    async with running(_arrangement(retention)) as system:
        where = await surroundings(system.system)
        samples = await _observed(system, orders, users, every)
        await system.verify()
    output.parent.mkdir(parents=True, exist_ok=True)
    run = {"command": command_line(), "retention_seconds": retention, "settled_after_seconds": settled}
    taken = {**run, **asdict(where), "samples": [_in_short(each) for each in samples]}
    output.with_suffix(".json").write_text(json.dumps(taken, separators=(",", ":")) + "\n")
    title = f"{samples[-1].orders:,} orders in {samples[-1].seconds / 60:.1f} minutes; kept for {retention:g} s"
    draw(samples, settled, title, output.with_suffix(".svg"))
    console.print(f"Samples and picture: {output}.json, {output}.svg", soft_wrap=True)
    return _judged(samples, settled)


def _in_short(sample: "Sample") -> dict[str, Any]:
    """A sample in the form that is written: `[bytes, rows, dead rows]` per table that is not empty."""
    tables = {name: list(astuple(size)) for name, size in sample.tables.items() if size.rows or size.dead}
    return {**vars(sample), "tables": tables}


def _settled(retention: float) -> float:
    """After how many seconds all tables of temporary data have their full size."""
    return max(retention + _REACH_BACK_SECONDS, *_kept(retention).values()) + _EVERY_SECONDS


def _kept(retention: float) -> dict[str, float]:
    """The retentions in seconds, by setting; as short as a service accepts."""
    return {
        "FTGO_OUTBOX_RETENTION_SECONDS": retention,
        "FTGO_STREAM_MAX_AGE_SECONDS": retention,
        "FTGO_INBOX_RETENTION_SECONDS": 2 * retention,
        "FTGO_SAGA_RETENTION_SECONDS": 4 * retention,
        "FTGO_IDEMPOTENCY_RETENTION_SECONDS": retention,
    }


def _arrangement(retention: float) -> Arrangement:
    variables: Mapping[str, str] = {name: f"{seconds:g}" for name, seconds in _kept(retention).items()}
    return Arrangement(
        variables=lambda _: variables,
        # Shortened like the retentions: what happens every minute or five must happen often enough to be seen here.
        postgres_settings={"autovacuum_naptime": f"{_VACUUM_SECONDS:g}s", "checkpoint_timeout": "60s"},
    )


async def _observed(system: "Running", orders: int, users: int, every: float) -> "Sequence[Sample]":
    """The samples taken while orders were placed. Raises LaunchError when not all were accepted and completed."""
    from tools.bench.generator import Generator
    from tools.soak.load import Deliveries
    from tools.soak.samples import looking

    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False, timeout=30))
            for name, url in system.system.urls.items()
        }
        look = await stack.enter_async_context(looking(system))
        generator = Generator(_plan(system, orders, users))
        deliveries = Deliveries(Api(clients, lambda: asyncio.sleep(0.1)), _DELIVERIES)
        placing = asyncio.create_task(generator.place(orders, users))
        delivering = asyncio.create_task(deliveries.run())
        began = time.monotonic()
        samples = []
        try:
            while True:
                samples.append(await look(time.monotonic() - began, generator.placed + deliveries.placed))
                console.print(f"[dim]{samples[-1].seconds:.0f} s[/] {samples[-1].orders} orders")
                if placing.done() or delivering.done():
                    break
                await asyncio.wait([placing, delivering], timeout=every, return_when=asyncio.FIRST_COMPLETED)
            deliveries.enough()
            await delivering
            failed = await placing
        except* Unexpected as failures:
            raise LaunchError(str(failures.exceptions[0])) from None
        finally:
            for task in (placing, delivering):
                task.cancel()
            await asyncio.gather(placing, delivering, return_exceptions=True)
        if failed:
            raise LaunchError("; ".join(f"{count} orders: {what}" for what, count in failed.items()))
        console.print(f"{deliveries.delivered} orders were delivered")
        return samples


def _plan(system: "Running", orders: int, users: int) -> "Plan":
    from tools.bench.plan import Plan

    consumers = min(max(orders // _ORDERS_OF_EACH, 1), _MAX_CONSUMERS)

    nats = system.system.nats_address
    return Plan(
        urls=system.system.urls,
        nats_url=nats.url,
        nats_user=nats.user or "",
        nats_password=nats.password or "",
        users=users,
        rate=None,
        mix=True,
        reads=False,
        keys=True,
        warm_up=0,
        seconds=0,
        seed="soak",
        consumers=consumers,
        restaurants=max(consumers // _CONSUMERS_OF_EACH, 1),
    )


def _judged(samples: "Sequence[Sample]", settled: float) -> list[str]:
    """Print what everything took, and return what has grown that must not."""
    from tools.soak.verdict import growth, halves, trends

    judged = halves(samples, settled)
    if judged is None:
        return [f"it ended too soon to judge what grows: everything kept has gone by after {settled:g} s only"]
    found = trends(*judged)
    flat = Table("", "at most (the log: median), first half", "second half", "", box=None, header_style="dim")
    for each in found:
        if max(each.first, each.second) >= 1 << 20 or not each.flat:
            flat.add_row(each.name, _mib(each.first), _mib(each.second), "" if each.flat else "[red]grows[/]")
    grows = Table("grows by design", "at the end", "an order", "rows an order", box=None, header_style="dim")
    for table in growth(*judged):
        if table.size >= 1 << 20:
            cells = (_mib(table.size), f"{table.bytes_an_order:.0f} B", f"{table.rows_an_order:.2f}")
            grows.add_row(table.name, *cells)
    console.print(flat, "", grows)
    return [f"{each.name} grows: {_mib(each.first)}, then {_mib(each.second)}" for each in found if not each.flat]


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
