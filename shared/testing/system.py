"""The whole system in one process, in memory: every service's real code on memory adapters, with a clock of its own.

Nothing runs by itself: `settle` lets messages travel until nobody has anything to do, always in the same order.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import httpx
from dependency_injector import providers
from fastapi import FastAPI

from shared.adapters.memory import MemoryDatabase
from shared.adapters.memory_broker import MemoryBroker
from shared.core.clock import Clock
from shared.core.ids import new_id
from shared.core.messages import Command, Event, Message
from shared.messaging.broker import Publication, subject_of
from shared.messaging.commands import Commands
from shared.messaging.envelope import Envelope, Received
from shared.messaging.partition import HeldPartition, Lease
from shared.runtime.container import ServiceContainer
from shared.runtime.settings import ServiceSettings
from shared.runtime.topology import BY_NAME
from shared.serialization import to_json

_HOLDER = 1
_LEASE = timedelta(days=1)


class VirtualClock:
    """A time that stands still until it is moved."""

    def __init__(self, start: datetime | None = None) -> None:
        self.now = start or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Time goes by."""
        self.now += by


class MemoryService:
    """One service on memory adapters: its container, its database, its API, and its one partition."""

    def __init__(self, name: str, broker: MemoryBroker, clock: Clock) -> None:
        self.name = name
        self.database = MemoryDatabase(name, clock)
        self.container: ServiceContainer = importlib.import_module(f"{name}.main").container()
        self._replace(name, clock)
        self._broker = broker
        self._published = 0
        self._position = 0
        self._subjects = {subject_of(0, route) for route in self.container.routes()}
        self._clock = clock
        self.partition = self._held_partition()

    def _replace(self, name: str, clock: Clock) -> None:
        memory = None
        try:
            memory = importlib.import_module(f"{name}.adapters.memory")
        except ModuleNotFoundError as missing:
            if missing.name != f"{name}.adapters.memory":
                raise
        settings = ServiceSettings.model_validate(
            {
                "port": BY_NAME[name].port,
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
        """A client of its API. That is what takes longest to make, so it is made only where it is used."""
        transport = httpx.ASGITransport(self.container.app(), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{self.name}")

    def _held_partition(self) -> HeldPartition[Any]:
        lease = Lease(0, _HOLDER, _LEASE)
        return HeldPartition(lease, self.container.units(), self.container.dispatcher(), self._clock)

    async def start_over(self) -> None:
        """Begins with an empty database, as the holder of the partition."""
        self.database.clear()
        self._published = self._position = 0
        self.partition = self._held_partition()
        async with self.database.transaction() as transaction:
            await transaction.positions.take(0, _HOLDER, _LEASE)

    def unpublished(self) -> list[Publication]:
        """What its relay has not published yet."""
        return self.database.outbox[self._published :]

    def publish(self) -> int:
        """Plays the relay; answers how many messages went out."""
        waiting = self.unpublished()
        for publication in waiting:
            self._broker.store(publication)
        self._published += len(waiting)
        return len(waiting)

    def arrived(self) -> list[Received]:
        """The messages behind its position that it subscribes to."""
        found: list[Received] = []
        while stored := self._broker.stored_at(self._position + 1):
            subject, received = stored
            self._position += 1
            if subject in self._subjects:
                found.append(received)
        return found


class MemorySystem:
    """All services, or some, around one broker. An async context manager; `settle` is what makes things happen."""

    def __init__(self, names: Iterable[str] = tuple(BY_NAME), clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self._start = clock.now if clock else None
        self.broker = MemoryBroker(self.clock)
        self.services = {name: MemoryService(name, self.broker, self.clock) for name in names}
        self.away: set[str] = set()
        """Services that do nothing at present. What they have committed before is published all the same."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start_over()
        for service in self.services.values():
            await self._stack.enter_async_context(_running(service.container.commands()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def start_over(self) -> None:
        """Forgets everything, the time included. Cheaper than another system: the APIs take long to make."""
        self.clock.now = self._start or datetime.now(UTC)
        self.broker.lose(after=0)
        self.away.clear()
        for service in self.services.values():
            await service.start_over()

    def client(self, service: str) -> httpx.AsyncClient:
        """A client of the service's HTTP API."""
        return self.services[service].client

    async def tell(self, *messages: Message, reply_to: str | None = None) -> None:
        """Messages of services that are not here arrive, and are handled. `reply_to` is who sends the commands."""
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
        """Lets messages travel until there are none. Timers that are due within `patience` go off: time is moved to
        each."""
        deadline = self.clock.now + patience
        while True:
            if await self._step():
                continue
            for service in self._working():
                await service.partition.look_for_due()
            due = [
                service.partition.next_due
                for service in self._working()
                if service.partition.next_due is not None and service.partition.next_due <= deadline
            ]
            if not due:
                return
            self.clock.now = max(self.clock.now, min(due))

    def _working(self) -> list[MemoryService]:
        return [service for name, service in self.services.items() if name not in self.away]

    async def _step(self) -> bool:
        moved = 0
        for service in self.services.values():
            moved += service.publish()
        for service in self._working():
            batch = service.arrived()
            moved += len(batch)
            if batch:
                await service.partition.handle(batch)
            due = service.partition.next_due
            if due is not None and due <= self.clock.now:
                await service.partition.work_due()
                moved += 1
        return moved > 0


class _InMemory:
    """Stands in for `Service`: always ready, and nothing to start."""

    def __init__(self, commands: Commands[Any]) -> None:
        self._commands = commands

    async def reasons(self) -> list[str]:
        return []

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        async with _running(self._commands):
            yield


@asynccontextmanager
async def _running(commands: Commands[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(commands.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
