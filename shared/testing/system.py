"""The whole system in one process, in memory: every service's real code on memory adapters, with a virtual clock.

Nothing runs by itself: `settle` delivers messages until there is nothing left to do, always in the same order.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import httpx
from dependency_injector import providers
from fastapi import FastAPI

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import Clock
from shared.core.ids import new_id
from shared.core.messages import Command, Event, Message, Reply
from shared.core.serialization import to_json
from shared.host.container import ServiceContainer
from shared.host.settings import ServiceSettings
from shared.messaging.broker import Publication, subject_of
from shared.messaging.envelope import Envelope, Received
from shared.processing.command_queue import CommandQueue, Stopped
from shared.processing.partition import HeldPartition, Lease
from shared.testing.adversity import Adversity, Crashed, Fate, MemoryRelay, MortalDatabase
from shared.unit_of_work.idempotency import current_key

_HOLDER = 1
_LEASE = timedelta(days=1)


class VirtualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime | None = None) -> None:
        self.now = start or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Move the time forward."""
        self.now += by


class MemoryService:
    """One service on memory adapters: its container, its database, its relay, its API, and its one partition.

    `partition` and `commands` are the state of a process: they are lost when it crashes.
    """

    def __init__(self, package: str, broker: MemoryBroker, clock: Clock, fate: Fate) -> None:
        """Make the service of a package whose module `main` has a function `container`."""
        self.name = name = package.rpartition(".")[2]
        self.database = MemoryDatabase(name, clock)
        self.relay = MemoryRelay(self.database, broker, fate, clock)
        self.container: ServiceContainer = importlib.import_module(f"{package}.main").container()
        self._replace(package, clock)
        self._broker = broker
        self._position = 0
        self._subjects = {subject_of(0, route) for route in self.container.routes()}
        self._clock = clock
        self._fate = fate
        self._tasks: set[asyncio.Task[None]] = set()
        self.partition = self._held_partition()
        self.commands = self.container.commands()
        if fate.adversity.crash:
            self.commands = self._new_commands()
            self.container.commands.override(providers.Object(_PatientCommandQueue(self, fate)))

    def _replace(self, package: str, clock: Clock) -> None:
        memory = None
        try:
            memory = importlib.import_module(f"{package}.adapters.memory")
        except ModuleNotFoundError as missing:
            if missing.name not in (f"{package}.adapters", f"{package}.adapters.memory"):
                raise
        settings = ServiceSettings.model_validate(
            {
                "application": self.container.info().application,
                "port": self.container.info().port,
                "database_url": "postgresql://memory/memory",
                "migrations_url": "postgresql://memory/memory",
            }
        )
        self.container.settings.override(providers.Object(settings))
        self.container.clock.override(providers.Object(clock))
        self.container.database.override(providers.Singleton(lambda: self.database))
        self.container.service.override(providers.Singleton(_InMemory, self.container.commands))
        if memory is not None:
            self.container.unit_of_work.override(providers.Object(memory.unit_of_work))

    @cached_property
    def client(self) -> httpx.AsyncClient:
        """A client of the service's API. It is slow to make, so it is made when it is first used."""
        transport = httpx.ASGITransport(self.container.app(), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{self.name}")

    def _held_partition(self) -> HeldPartition[Any]:
        lease = Lease(0, _HOLDER, _LEASE)
        units = self.container.units()
        if self._fate.adversity.crash:
            units = units.on(MortalDatabase(self.database, self._fate))
        has_sagas = bool(self.container.sagas())
        return HeldPartition(lease, units, self.container.dispatcher(), self._clock, self._clock, has_sagas=has_sagas)

    def _new_commands(self) -> CommandQueue[Any]:
        """Return a command queue whose processes crash before commits only.

        `_PatientCommandQueue` decides about crashes after a commit, before or after the answer.
        """
        units = self.container.units().on(MortalDatabase(self.database, self._fate, after_commit=False))
        batch_size = self.container.settings().batch_size
        return CommandQueue(self.container.handlers(), units, self._clock, batch_size)

    def start(self) -> None:
        """Carry out commands from now on."""
        self._tasks.add(asyncio.create_task(self.commands.run()))

    async def stop(self) -> None:
        """Stop carrying out commands."""
        ended, self._tasks = self._tasks, set()
        await _end(ended)
        self.commands.end()

    async def crash(self) -> None:
        """End the process and all its state. Another one goes on from the position in the database."""
        ended, self._tasks = self._tasks, set()
        before = self.commands
        self.partition = self._held_partition()
        self.commands = self._new_commands()
        mark = self.database.positions.get(0)
        self._position = mark.position if mark else 0
        self.start()
        await _end(ended)
        before.end()

    async def start_over(self) -> None:
        """Start with an empty database, as the holder of the partition."""
        self.database.clear()
        self.relay.start_over()
        self._position = 0
        self.partition = self._held_partition()
        async with self.database.transaction() as transaction:
            await transaction.positions.take(0, _HOLDER, _LEASE)

    async def handle_arrived(self) -> int:
        """Handle the messages that have arrived, or a part of them; return how many."""
        batch = self.arrived()
        if batch:
            await self._mortally(self.partition.handle(batch))
        return len(batch)

    async def work_due(self) -> None:
        """Do the work that is due by the clock."""
        await self._mortally(self.partition.work_due())

    async def look_for_due(self) -> None:
        """Find out what is due next."""
        await self._mortally(self.partition.look_for_due())

    async def _mortally(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Crashed:
            await self.crash()

    def arrived(self) -> list[Received]:
        """Return the messages behind the position that the service subscribes to, or the first of them."""
        found: list[Received] = []
        position = self._position
        while stored := self._broker.stored_at(position + 1):
            subject, received = stored
            position += 1
            if subject in self._subjects:
                found.append(received)
        batch = found[: self._fate.portion(found)]
        self._position = position if len(batch) == len(found) else batch[-1].position
        return batch


class MemorySystem:
    """Some or all services around one broker. An async context manager; `settle` lets it work."""

    def __init__(
        self,
        packages: Iterable[str],
        clock: VirtualClock | None = None,
        adversity: Adversity | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self._start = clock.now if clock else None
        self.broker = MemoryBroker(self.clock)
        self.fate = Fate(adversity or Adversity())
        made = (MemoryService(package, self.broker, self.clock, self.fate) for package in packages)
        self.services = {service.name: service for service in made}
        self.away: set[str] = set()
        """Services that do nothing at present. Messages that they committed before are still published."""

    async def __aenter__(self) -> Self:
        await self.start_over()
        for service in self.services.values():
            service.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in self.services.values():
            await service.stop()

    async def start_over(self) -> None:
        """Delete all data and reset the clock. This is faster than a new system: its APIs are slow to make."""
        self.clock.now = self._start or datetime.now(UTC)
        self.fate.begin(self.fate.adversity.seed)
        self.broker.lose(after=0)
        self.away.clear()
        for service in self.services.values():
            await service.start_over()

    def client(self, service: str) -> httpx.AsyncClient:
        """Return a client of the service's HTTP API."""
        return self.services[service].client

    async def tell(self, *messages: Message, reply_to: str | None = None) -> None:
        """Deliver messages of services that are not in this system, and settle. Commands come from `reply_to`."""
        for message in messages:
            envelope = Envelope(
                id=new_id(),
                type=message.type_name,
                kind="command" if isinstance(message, Command) else "event",
                source=message.type_name.partition(".")[0] if isinstance(message, Event) else reply_to or "test",
                key=message.key,
                data=to_json(message),
                time=self.clock(),
                correlation_id="test",
                causation_id="test",
                reply_to=reply_to,
            )
            subject = subject_of(0, envelope.route)
            headers = envelope.to_headers()
            self.broker.store(Publication(row_id=envelope.id, subject=subject, headers=headers, data=envelope.data))
        await self.settle()

    async def settle(self, patience: timedelta = timedelta(0)) -> None:
        """Deliver messages until there are none.

        Timers that are due within `patience` run: the clock is moved to each. Late messages are waited for, and
        `patience` starts again with each.
        """
        deadline = self.clock.now + patience
        while True:
            if await self.step():
                continue
            for service in self._working():
                await service.look_for_due()
            late = [service.relay.next_due for service in self.services.values()]
            timers = [service.partition.next_due for service in self._working()]
            next_late = min((due for due in late if due is not None), default=None)
            next_timer = min((due for due in timers if due is not None and due <= deadline), default=None)
            if next_late is None and next_timer is None:
                return
            self.clock.now = max(self.clock.now, min(due for due in (next_late, next_timer) if due is not None))
            if next_late is not None and next_late <= self.clock.now:
                deadline = max(deadline, self.clock.now + patience)

    def _working(self) -> list[MemoryService]:
        working = [service for name, service in self.services.items() if name not in self.away]
        return self.fate.shuffled(working)

    async def step(self) -> bool:
        """Let every service work once, with the clock standing still; return whether there was anything to do."""
        moved = 0
        for service in self.fate.shuffled(list(self.services.values())):
            moved += service.relay.publish()
        for service in self._working():
            moved += await service.handle_arrived()
            due = service.partition.next_due
            if due is not None and due <= self.clock.now:
                await service.work_due()
                moved += 1
        return moved > 0


class _PatientCommandQueue:
    """Replaces `CommandQueue` where processes crash: a client that gets no answer asks again.

    A command without an idempotency key would be carried out twice if its process crashed between commit and answer:
    for such a command the crash comes right after the answer.
    """

    def __init__(self, service: MemoryService, fate: Fate) -> None:
        self._service = service
        self._fate = fate

    async def execute(self, command: Command[Any]) -> Reply:
        while True:
            process = self._service.commands
            try:
                answer: Reply = await process.execute(command)
            except Stopped:
                if process is self._service.commands:  # the first to notice
                    await self._service.crash()
                continue
            crashed = self._fate.crashes()
            if crashed and process is self._service.commands:
                await self._service.crash()
            if not crashed or current_key() is None:
                return answer


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _InMemory:
    """Replaces `Service`: always ready, and nothing to start."""

    def __init__(self, commands: CommandQueue[Any]) -> None:
        self._commands = commands

    async def reasons(self) -> list[str]:
        return []

    async def measure(self) -> None:
        pass

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        async with _running(self._commands):
            yield


@asynccontextmanager
async def _running(commands: CommandQueue[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(commands.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
