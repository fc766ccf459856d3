"""The running system as faults see it: its processes, its databases, its logs and metrics."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from kernel.topology import BY_NAME, FTGO, SERVICES
from kernel.traffic import reads
from shared.adapters.nats.connection import NatsAddress, NatsConnection, connect
from tools.chaos import crash_points
from tools.chaos.load import Load
from tools.chaos.outside import OutsideSupervisor
from tools.system.run_state import process_of, read_state
from tools.system.supervisor import Supervisor
from tools.system.system import System, program_of
from tools.verify.facts import Finding

PUBLISHING = tuple(service.name for service in SERVICES if service.publishes)
READING = tuple(service.name for service in SERVICES if reads(service.name))
"""Services that handle messages."""
PATIENCE = 60.0
"""Seconds that anything may take before it counts as not happening."""
_POLL_SECONDS = 0.05


class TooLate(Exception):
    """Something has not happened in time. The message says what."""


class World:
    """One system that runs. A part is a process of it: `order`, `order-2`, `relay`, `postgres`, `nats`."""

    def __init__(
        self,
        system: System,
        supervisor: Supervisor,
        client: httpx.AsyncClient,
        load: Load,
        outside: OutsideSupervisor | None = None,
    ) -> None:
        """When `outside` is given, it runs the system, and `supervisor` only knows what the parts are."""
        self.system = system
        self.supervisor = supervisor
        self._outside = outside
        self.load = load
        self.findings: list[Finding] = []
        self._client = client
        self._counted: dict[tuple[str, int], float] = {}

    @property
    def parts(self) -> Sequence[str]:
        """The names of all parts."""
        return list(self.supervisor.children)

    @property
    def programs(self) -> Sequence[str]:
        """The names of the parts that are ours: services and relays."""
        return [part for part in self.parts if part not in ("postgres", "nats")]

    @property
    def nats_folder(self) -> Path:
        """Where nats-server has its store; do not change it while nats-server runs."""
        return self.system.nats.folder / "store"

    def found(self, text: str, *ids: str) -> None:
        """Record a finding: something that the fault checks does not hold."""
        self.findings.append(Finding("fault", text, ids))

    # Processes

    def pid(self, part: str) -> int | None:
        """The id of a part's process; None while it has none."""
        if self._outside is not None:
            state = read_state(self.system.folder)
            process = None if state is None else process_of(state["parts"][part])
            return None if process is None else process.pid
        child = self.supervisor.children[part]
        return child.process.pid if child.alive and child.process is not None else None

    def restarts(self, part: str) -> int:
        """How often the supervisor has restarted a part."""
        return self.supervisor.children[part].restarts

    @property
    def outside(self) -> OutsideSupervisor:
        """The supervisor, if it is a separate process."""
        assert self._outside is not None
        return self._outside

    @property
    def fork_server(self) -> int | None:
        """The process that programs are forked from; None while none runs."""
        return self.supervisor.fork_server

    def processes(self) -> list[psutil.Process]:
        """All processes of the system: the parts, what they are forked from, and what they have started."""
        return list(psutil.Process().children(recursive=True))

    def send(self, part: str, number: signal.Signals) -> None:
        """Send a signal to a part, unless it has just ended."""
        if (pid := self.pid(part)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, part: str) -> None:
        """End a part at once, as a crash would; the supervisor starts it again."""
        self.send(part, signal.SIGKILL)

    def kill_process(self, pid: int | None) -> None:
        """Kill any process of the system at once, unless it has just ended."""
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pause(self, part: str) -> None:
        """Pause a part; its connections stay open."""
        self.send(part, signal.SIGSTOP)

    def resume(self, part: str) -> None:
        """Resume a paused part."""
        self.send(part, signal.SIGCONT)

    def stands_still(self, part: str) -> bool:
        """Whether a part is paused."""
        pid = self.pid(part)
        with suppress(psutil.NoSuchProcess):
            return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        return False

    async def take_down(self, part: str) -> None:
        """Shut a part down in an orderly way, and do not restart it."""
        await self.supervisor.take_down(part)

    async def bring_up(self, part: str) -> None:
        """Start a part that was taken down."""
        await self.supervisor.bring_up(part)

    async def ready(self, *parts: str) -> None:
        """Wait until these parts, or all, are ready. Raises TooLate."""
        for part in parts or self.parts:
            probe = self.supervisor.children[part].part.probe

            async def is_ready(probe: Callable[[], Awaitable[str]] = probe) -> bool:
                return not await probe()

            await self.until(is_ready, f"{part} is not ready")

    def arm(self, part: str, point: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Have a part send itself a signal at a crash point, once. Only the last point that was armed counts."""
        crash_points.arm(self.system.folder, part, point, number)

    def disarm(self, part: str) -> bool:
        """Disarm a part's crash point; returns whether the part had not reached it."""
        return crash_points.disarm(self.system.folder, part)

    def is_armed(self, part: str) -> bool:
        """Whether a part has an armed crash point that it has not reached yet."""
        return crash_points.is_armed(self.system.folder, part)

    # Services

    async def ask(
        self, service: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, admin: bool = False
    ) -> httpx.Response:
        """Send a request to a service's first replica, or to its /admin. Raises httpx.HTTPError."""
        port = (self.system.admin_port if admin else self.system.port)(BY_NAME[service])
        return await self._client.request(method, f"{self.system.url(port)}{path}", json=body)

    async def until_refused(
        self, service: str, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Wait until a service answers this request with "retry later"; returns that answer. Raises TooLate."""
        answers: list[httpx.Response] = []

        async def is_refused() -> bool:
            with suppress(httpx.TimeoutException):
                answers.append(await self.ask(service, method, path, body))
            return bool(answers) and answers[-1].status_code == httpx.codes.SERVICE_UNAVAILABLE

        await self.until(is_refused, f"{service} does not refuse {method} {path}")
        if "Retry-After" not in answers[-1].headers:
            self.found(f"{service} does not say when to come again")
        return answers[-1]

    # Databases and broker

    @asynccontextmanager
    async def admin(self, database: str = "postgres") -> AsyncIterator["asyncpg.Connection[Any]"]:
        """A superuser's connection to a database that bypasses any proxy."""
        url = urlsplit(self.system.postgres.admin_url)._replace(path=f"/{database}").geturl()
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def nats(self) -> AsyncIterator[NatsConnection]:
        """A connection to NATS that bypasses any proxy."""
        async with connect(self.nats_address) as connection:
            yield connection

    @property
    def nats_address(self) -> NatsAddress:
        """The address of NATS itself, not of a proxy."""
        return self.system.nats_address

    async def holder(self, service: str, partition: int = 0) -> str | None:
        """The replica that holds a partition of the stream; None while none does."""
        async with self.admin(BY_NAME[service].database) as connection:
            port = await connection.fetchval(
                "select client_port from pg_stat_activity join pg_locks using (pid)"
                " join subscriptions on holder = (classid::bigint << 32) + objid::bigint"
                " where locktype = 'advisory' and granted and partition = $1",
                partition,
            )
        return self._connected_from(port, service)

    async def publisher(self, service: str) -> str | None:
        """The relay that holds a service's replication slot; None while none does."""
        async with self.admin() as connection:
            port = await connection.fetchval(
                "select client_port from pg_replication_slots join pg_stat_replication on pid = active_pid"
                " where slot_name = $1",
                FTGO.slot(BY_NAME[service].database),
            )
        return self._connected_from(port, "relay")

    def _connected_from(self, port: int | None, program: str) -> str | None:
        for part in self.programs:
            pid = self.pid(part)
            if program_of(part) == program and pid is not None:
                with suppress(psutil.Error):
                    if any(each.laddr.port == port for each in psutil.Process(pid).net_connections("tcp")):
                        return part
        return None

    # Waiting

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE) -> None:
        """Wait for a condition. Raises TooLate, which says what is wrong."""
        give_up = time.monotonic() + seconds
        while not await condition():
            if time.monotonic() > give_up:
                raise TooLate(f"{what} after {seconds:g} s")
            await asyncio.sleep(_POLL_SECONDS)

    # Logs and metrics

    def log(self, part: str, since: int = 0) -> str:
        """What a part has written, from an offset that `log_end` gave."""
        with self.supervisor.children[part].log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def log_end(self, part: str) -> int:
        """How much a part has written so far."""
        return self.supervisor.children[part].log.stat().st_size

    async def metric(self, part: str, name: str, **labels: str) -> float | None:
        """The sum of a part's metric series with that name and these labels; None when the part doesn't answer."""
        try:
            answer = await self._client.get(f"{self.supervisor.children[part].part.url}/metrics")
        except httpx.HTTPError:
            return None
        samples = (sample for family in text_string_to_metric_families(answer.text) for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    async def count_duplicates(self) -> None:
        """Read the counters of duplicates. They are lost when their processes end, so this is done repeatedly."""
        for part in self.programs:
            pid = self.pid(part)
            if pid is not None and program_of(part) in BY_NAME and not self.stands_still(part):
                messages = await self.metric(part, "duplicate_messages_total")
                requests = await self.metric(part, "repeated_requests_total")
                if messages is not None and requests is not None:
                    self._counted[part, pid] = messages + requests

    @property
    def duplicates(self) -> int:
        """How many duplicate messages and requests had no effect, as far as they were counted."""
        return int(sum(self._counted.values()))
