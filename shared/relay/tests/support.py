"""What the relay's tests share: an outbox to write to, relays to start and crash, and the stream to look at."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from itertools import cycle
from typing import TypeVar

import asyncpg
from prometheus_client import REGISTRY

from kernel.topology import BY_NAME, FTGO
from shared.adapters.memory.broker import MemoryBroker, MemoryBrokerConnection
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.stream import StreamLimits
from shared.host.provision import Database
from shared.messaging.broker import Broker, BrokerConnection, BrokerUnavailable, Feed, Publication
from shared.messaging.envelope import Received
from shared.relay.pgoutput import parse_lsn
from shared.relay.relay import Relay, RelayOptions
from tests.support.kept_broker import KeptBroker

ROUTE = "event.order.OrderCreated"
OPTIONS = RelayOptions(
    partitions=1,
    outbox_retention=timedelta(days=1),
    stream_max_age=timedelta(days=7),
    wal_sender_timeout=30,
)
T = TypeVar("T")


def nats_broker(url: str, partitions: int = 1) -> KeptBroker:
    return KeptBroker(NatsAddress(url, FTGO), partitions, StreamLimits(7 * 86400, 1 << 28))


async def eventually(condition: Callable[[], Awaitable[T]]) -> T:
    """The condition's value as soon as it is true; the test's time limit ends it otherwise."""
    while not (value := await condition()):
        await asyncio.sleep(0.02)
    return value


def metric(name: str, database: Database) -> float:
    return REGISTRY.get_sample_value(name, {"database": database.name}) or 0.0


class Outbox:
    """The service's side of the database, and a look at the relay's."""

    def __init__(self, database: Database, service: asyncpg.Connection, relay: asyncpg.Connection) -> None:
        self.database = database
        self.service = service
        self.relay = relay
        self.slot = f"ftgo_{database.name}"

    async def add(
        self,
        count: int = 1,
        *,
        connection: asyncpg.Connection | None = None,
        subject: str = ROUTE,
        key: str = "k",
        headers: str | Mapping[str, str] | None = None,
        data: str = "{}",
        created_at: datetime | None = None,
    ) -> list[int]:
        """Insert rows in one statement; returns their ids."""
        text = headers if isinstance(headers, str) else json.dumps(headers or {})
        records = await (connection or self.service).fetch(
            "insert into outbox (subject, key, headers, data, created_at)"
            " select $1, $2, $3, $4, coalesce($5, now()) from generate_series(1, $6) returning id",
            subject, key, text, data, created_at, count,
        )  # fmt: skip
        return [record["id"] for record in records]

    @asynccontextmanager
    async def another_connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.database.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def ids(self) -> list[int]:
        return [record["id"] for record in await self.service.fetch("select id from outbox order by id")]

    async def confirmed(self) -> int:
        """The slot's position, 0 without a slot."""
        lsn = await self.relay.fetchval(
            "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", self.slot
        )
        return parse_lsn(lsn) if lsn else 0

    async def log_end(self) -> int:
        return parse_lsn(await self.relay.fetchval("select pg_current_wal_lsn()::text"))

    async def checkpoints(self) -> list[tuple[int, int]]:
        """Row and place, the newest last."""
        records = await self.relay.fetch("select row_id, stream_seq from relay_checkpoints order by lsn, stream_seq")
        return [(record["row_id"], record["stream_seq"]) for record in records]

    async def checkpointed(self, row_id: int) -> None:
        """Wait for the checkpoint of a row."""

        async def found() -> bool:
            return (await self.checkpoints() or [(0, 0)])[-1][0] == row_id

        await eventually(found)

    async def slot_is_free(self) -> None:
        """Wait until PostgreSQL has noticed that the relay is gone."""

        async def free() -> bool:
            return not await self.relay.fetchval(
                "select count(*) from pg_replication_slots where slot_name in ($1, $2) and active",
                self.slot,
                f"{self.slot}_new",
            )

        await eventually(free)


class Writer:
    """Commits some hundred rows a second, in transactions of one or more, until it is told to stop."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._stopping = False
        self.committed: list[int] = []
        self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        async with self._outbox.another_connection() as connection:
            for count in cycle((1, 1, 7, 1)):
                if self._stopping:
                    return
                self.committed += await self._outbox.add(count, connection=connection)
                await asyncio.sleep(0.005)

    async def wrote(self, count: int) -> None:
        """Wait until so many more rows have been committed."""
        goal = len(self.committed) + count

        async def reached() -> bool:
            return len(self.committed) >= goal

        await eventually(reached)

    async def stop(self) -> list[int]:
        self._stopping = True
        await self._task
        return self.committed


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Outbox]:
    """Connections to a database that has its tables."""
    service, relay = await asyncpg.connect(database.url), await asyncpg.connect(database.relay_url)
    try:
        yield Outbox(database, service, relay)
    finally:
        await service.close()
        await relay.close()


class RunningRelay:
    """A relay in a task of its own."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.task = asyncio.create_task(relay.run())

    async def publishing(self) -> None:
        """Wait until it has taken the slot and checked the stream."""
        await eventually(self._publishing)

    async def waiting(self, reason: str) -> None:
        """Wait until it waits for something like this."""

        async def found() -> bool:
            return reason in (self.relay.status.waiting_for or "")

        await eventually(found)

    async def stop(self) -> None:
        """End in good order."""
        self.relay.stop()
        await self.task

    async def crash(self) -> None:
        """End at once: nothing more is published, written or confirmed."""
        self.task.cancel()
        await asyncio.wait([self.task])  # and not for the task itself: the test's time limit is a cancellation too
        if not self.task.cancelled():
            self.task.result()

    async def _publishing(self) -> bool:
        if self.task.done():
            self.task.result()
        return self.relay.status.waiting_for is None


@asynccontextmanager
async def running(
    database: Database, broker: Broker, options: RelayOptions = OPTIONS, clock: Callable[[], float] | None = None
) -> AsyncIterator[RunningRelay]:
    """A relay of the service `order`; a fault of its own fails the test."""
    clocks = {} if clock is None else {"clock": clock}
    relay = RunningRelay(Relay(BY_NAME["order"], database.relay_url, broker, options, **clocks))
    try:
        yield relay
    finally:
        if not relay.task.done():
            await relay.crash()
        elif not relay.task.cancelled():
            relay.task.result()


async def stored(broker: Broker, partition: int = 0, routes: Sequence[str] = (ROUTE,)) -> list[Received]:
    """All messages that are in the stream now; it must have none but those of this partition and these routes."""
    messages: list[Received] = []
    async with broker.connect() as log:
        bounds = await log.bounds()
        if bounds.first > bounds.last:
            return []
        async with log.read(partition, after=0, filters=routes) as feed:
            while not messages or messages[-1].position < bounds.last:
                messages += await feed.take(1000, 10)
    return messages


def ids(messages: Iterable[Received]) -> list[int]:
    """The outbox rows' ids."""
    return [int(message.row_id.removeprefix("order-")) for message in messages]


def first_seen(numbers: Iterable[int]) -> list[int]:
    """What a receiver is left with that drops repeats."""
    return list(dict.fromkeys(numbers))


async def published(broker: Broker, expected: Sequence[int]) -> list[int]:
    """Wait until all these rows are in the stream; returns what is there by then, repeats included."""
    while True:
        found, missing = list[int](), set(expected)
        try:
            async with broker.connect() as log, log.read(0, after=0, filters=[ROUTE]) as feed:
                while missing:
                    found += ids(await feed.take(1000, 10))
                    missing.difference_update(found[-1000:])
                return found
        except BrokerUnavailable:
            await asyncio.sleep(0.02)


class GatedBroker:
    """A broker in memory whose publishing a test can hold up or make fail. `batches` are what it was asked to
    store, each with its connection's number."""

    def __init__(self) -> None:
        self.memory = MemoryBroker()
        self.open = asyncio.Event()
        self.open.set()
        self.failures = 0
        self.batches: list[tuple[int, list[int]]] = []
        self.connections = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[BrokerConnection]:
        self.connections += 1
        async with self.memory.connect() as connection:
            yield _GatedConnection(self, connection)


class _GatedConnection:
    def __init__(self, gate: GatedBroker, connection: MemoryBrokerConnection) -> None:
        self._gate = gate
        self._number = gate.connections
        self._connection = connection
        self.bounds = connection.bounds
        self.message_at = connection.message_at
        self.sent_before = connection.sent_before
        self.sent_again = connection.sent_again

    def read(
        self, partition: int, *, after: int, filters: Sequence[str], to_end: bool = False
    ) -> AbstractAsyncContextManager[Feed]:
        return self._connection.read(partition, after=after, filters=filters, to_end=to_end)

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        if messages:
            rows = [int(message.row_id.rpartition("-")[2]) for message in messages]
            self._gate.batches.append((self._number, rows))
        await self._gate.open.wait()
        if self._gate.failures:
            self._gate.failures -= 1
            raise BrokerUnavailable("told to fail")
        return await self._connection.publish(messages)
