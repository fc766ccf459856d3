"""The command `./ftgo soak`."""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from shared.runtime.demo.api import Api, Unexpected
from shared.runtime.process import LaunchError
from shared.runtime.supervisor import local_client
from shared.runtime.system import ROOT, Arrangement, System, SystemSettings, remove_data
from shared.runtime.topology import SERVICES

if TYPE_CHECKING:
    from shared.runtime.soak.samples import Sample

_START_SECONDS = 120.0

console = Console(highlight=False)


def soak(
    orders: Annotated[int, typer.Option(help="How many orders.", min=1)] = 100_000,
    clients: Annotated[int, typer.Option(help="How many clients place them, one after another each.", min=1)] = 16,
    retention: Annotated[
        float,
        typer.Option(help="Seconds that outbox and stream keep messages; the rest is kept longer.", min=5),
    ] = 120,
    every: Annotated[float, typer.Option(help="Seconds between two looks at sizes and memory.", min=1)] = 15,
    output: Annotated[Path, typer.Option(help="Where the samples (.json) and the picture (.svg) go.")] = ROOT
    / "docs/soak",
    port_offset: Annotated[int, typer.Option(help="Added to every port.", min=0, max=40000)] = 3000,
) -> None:
    """Run the whole system for long, with short retentions, and see what grows.

    It starts a system of its own in a temporary folder, places orders and sees each of them through, and looks at the
    sizes of all tables, of the write-ahead log and of the stream, and at the memory of every process. What only passes
    has to stay as large as it is once the retentions have gone by.

    Examples: `./ftgo soak`   `./ftgo soak --orders 2000 --retention 20 --every 5 --output /tmp/soak`
    """
    from shared.runtime.soak.plot import draw

    folder = Path(tempfile.mkdtemp(prefix="ftgo-soak-"))
    folder.chmod(0o711)  # PostgreSQL's own user passes through, where we are root
    try:
        samples = asyncio.run(_run(folder, orders, clients, retention, every, port_offset))
    except* Unexpected as failures:
        raise LaunchError(f"{failures.exceptions[0]}: data and logs are in {folder}") from None
    remove_data(folder)
    shutil.rmtree(folder)
    output.parent.mkdir(parents=True, exist_ok=True)
    run = {"orders": orders, "clients": clients, "retention_seconds": retention}
    output.with_suffix(".json").write_text(
        json.dumps({**run, "samples": [asdict(each) for each in samples]}, indent=1) + "\n"
    )
    minutes = samples[-1].seconds / 60
    title = f"{orders:,} orders in {minutes:.0f} minutes; outbox and stream keep messages for {retention:g} s"
    draw(samples, title, output.with_suffix(".svg"))
    console.print(_table(samples))
    console.print(f"Samples and picture: {output.with_suffix('.json')}, {output.with_suffix('.svg')}", soft_wrap=True)


async def _run(
    folder: Path, orders: int, clients: int, retention: float, every: float, port_offset: int
) -> "list[Sample]":
    from shared.adapters.nats.connection import connect
    from shared.runtime.soak.load import Load
    from shared.runtime.soak.samples import take

    variables = {
        "FTGO_OUTBOX_RETENTION_SECONDS": f"{retention:g}",
        "FTGO_STREAM_MAX_AGE_SECONDS": f"{retention:g}",
        "FTGO_INBOX_RETENTION_SECONDS": f"{2 * retention:g}",
        "FTGO_SAGA_RETENTION_SECONDS": f"{4 * retention:g}",
        "FTGO_IDEMPOTENCY_RETENTION_SECONDS": f"{retention:g}",
    }
    settings = SystemSettings(data_dir=folder, host="127.0.0.1", port_offset=port_offset)
    system = System(settings, Arrangement(variables=lambda _: variables))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(local_client())
        said = stack.enter_context((folder / "supervisor.log").open("w"))
        supervisor = system.supervisor(client, Console(file=said, width=500))
        stack.push_async_callback(supervisor.stop)
        async with asyncio.timeout(_START_SECONDS):
            await supervisor.start()
        apis = {
            service.name: await stack.enter_async_context(
                httpx.AsyncClient(base_url=system.url(system.port(service)), trust_env=False, timeout=30)
            )
            for service in SERVICES
        }
        nats = await stack.enter_async_context(connect(system.nats_address))
        load = Load(Api(apis, lambda: asyncio.sleep(0.05)), orders, clients)
        began = time.monotonic()
        samples = [await take(system, supervisor, nats, 0, 0)]
        loading = asyncio.create_task(load.run())
        while not loading.done():
            await asyncio.wait([loading], timeout=every)
            samples.append(await take(system, supervisor, nats, time.monotonic() - began, load.placed))
            console.print(f"[dim]{samples[-1].seconds:.0f} s[/] {load.placed} orders")
        loading.result()
        return samples


def _table(samples: "Sequence[Sample]") -> Table:
    """What everything took in the middle of the run, and at its end."""
    from shared.runtime.soak.samples import PASSING

    middle, end = samples[len(samples) // 2], samples[-1]
    table = Table(box=None, header_style="dim")
    for column in ("", f"{middle.orders} orders", f"{end.orders} orders"):
        table.add_column(column, justify="right" if column else "left")

    def row(name: str, then: int, now: int) -> None:
        table.add_row(name, f"{then / (1 << 20):.1f} MiB", f"{now / (1 << 20):.1f} MiB")

    for name, size in end.tables.items():
        row(f"{name} (passes)" if name in PASSING else f"{name} (state)", middle.tables.get(name, 0), size)
    row("write-ahead log", middle.wal, end.wal)
    row("stream", middle.stream, end.stream)
    for name, size in end.memory.items():
        row(f"memory of {name}", middle.memory.get(name, 0), size)
    return table
