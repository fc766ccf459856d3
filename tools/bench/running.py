"""The measured system: like `./ftgo up` with its defaults, but in a temporary folder and on free ports."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

from kernel.topology import BY_NAME, SERVICES
from tools.bench.cpu import cpu_seconds
from tools.system.process import LaunchError, memory_of
from tools.system.supervisor import Supervisor, local_client
from tools.system.system import Arrangement, System, remove_data, system_on_free_ports
from tools.terminal import Terminal
from tools.verify.command import when_at_rest

_START_SECONDS = 120.0
_REST_SECONDS = 60.0
_MAX_SHOWN = 20
BATCHES = {"messages": "batch_messages", "HTTP commands": "batch_http_commands"}
"""What is handled in batches, and the metric that counts them."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What each part has used up to a moment, and the number and size of the batches that each service has handled."""

    cpu: dict[str, float]
    batches: dict[str, tuple[float, float]]
    restarts: int


@dataclass(frozen=True)
class Running:
    """A running system."""

    system: System
    supervisor: Supervisor
    client: httpx.AsyncClient

    def pids(self) -> dict[str, int]:
        """The process of each part."""
        children = self.supervisor.children.items()
        return {name: child.process.pid for name, child in children if child.process is not None and child.alive}

    def cpu(self) -> dict[str, float]:
        """The CPU time that each part has used, in seconds."""
        return {name: cpu_seconds(pid) for name, pid in self.pids().items()}

    def memory(self) -> dict[str, int]:
        """The proportional set size of each part, in bytes."""
        return {name: memory_of(pid) for name, pid in self.pids().items()}

    @asynccontextmanager
    async def admin(self, service: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        """A connection to a service's database, with all rights."""
        url = urlsplit(self.system.postgres.admin_url)._replace(path=f"/{BY_NAME[service].database}").geturl()
        connection = await asyncpg.connect(url, timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def verify(self) -> None:
        """Wait until nothing is under way, and check the invariants. LaunchError when something does not hold."""
        databases = [self.system.database(service) for service in SERVICES]
        unrest, findings = await when_at_rest(databases, self.system.nats_address, _REST_SECONDS)
        wrong = [f"it has not come to rest within {_REST_SECONDS:g} s: {unrest}"] if unrest else []
        wrong += [f"{each.invariant} {each.text}: {' '.join(each.ids)}" for each in findings]
        if wrong:
            shown = "\n".join(wrong[:_MAX_SHOWN])
            raise LaunchError(f"{len(wrong)} things do not hold afterwards:\n{shown}\n")

    async def look(self) -> Look:
        """Return what everything has used up to now."""
        cpu = self.cpu()
        batches = {}
        for name, child in self.supervisor.children.items():
            if name in BY_NAME:
                answer = await self.client.get(f"{child.part.url}/metrics")
                for what, metric in BATCHES.items():
                    batches[f"{name}: {what}"] = _sum_and_count(answer.text, metric)
        restarts = sum(child.restarts for child in self.supervisor.children.values())
        return Look(cpu=cpu, batches=batches, restarts=restarts)


def _sum_and_count(text: str, metric: str) -> tuple[float, float]:
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        if family.name == metric
        for sample in family.samples
    }
    return samples.get(f"{metric}_sum", 0.0), samples.get(f"{metric}_count", 0.0)


def batch_sizes(before: Look, after: Look) -> dict[str, float]:
    """Return the mean size of the batches between two looks, where there were any."""
    sizes = {}
    for name, (total, count) in after.batches.items():
        earlier_total, earlier_count = before.batches[name]
        if count > earlier_count:
            sizes[name] = round((total - earlier_total) / (count - earlier_count), 2)
    return sizes


@asynccontextmanager
async def running(arrangement: Arrangement | None = None, kind: type[System] = System) -> AsyncIterator[Running]:
    """Run a system for this purpose only. Its data is removed, unless something fails. Raises LaunchError."""
    with temporary_folder() as folder:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(local_client())
            said = stack.enter_context((folder / "supervisor.log").open("w"))
            system = kind(system_on_free_ports(folder, arrangement).settings, arrangement)
            supervisor = system.supervisor(client, Terminal(file=said, width=500))
            stack.push_async_callback(_end, supervisor)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await supervisor.start()
            except TimeoutError:
                raise LaunchError(f"the system does not start within {_START_SECONDS:g} s") from None
            yield Running(system, supervisor, client)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder for a temporary system. It is removed unless something fails: then LaunchErrors name it."""
    folder = Path(tempfile.mkdtemp(prefix="ftgo-bench-"))
    folder.chmod(0o711)  # when we are root, PostgreSQL runs as its own user, which must get through
    try:
        yield folder
    except LaunchError as failure:
        raise LaunchError(f"{failure}; data and logs are in {folder}") from None
    remove_data(folder)
    shutil.rmtree(folder)


async def _end(supervisor: Supervisor) -> None:
    """Stops all processes at once: their unfinished work is not needed."""
    supervisor.force()
    await supervisor.stop()
