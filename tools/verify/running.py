"""The state of a running system: its databases in PostgreSQL and its stream in NATS. Nothing is written."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg

from shared.adapters.nats.connection import NatsAddress, NatsConnection, connect
from shared.adapters.nats.reader import read
from shared.adapters.nats.stream import max_age, stream_bounds
from shared.adapters.postgres.rows import RowMapping
from shared.adapters.postgres.tables import FRAMEWORK_TABLES
from shared.core.serialization import from_json
from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import Metadata, Snapshot, StoredEvent
from shared.host.provision import Database
from shared.messaging.broker import subject_of
from shared.messaging.chain import Missing
from shared.messaging.envelope import Received
from shared.messaging.set_aside import Line, SetAside
from tools.explain.message_log import SUBJECTS
from tools.verify.models import model_of
from tools.verify.state import Sent

R = TypeVar("R", bound=Entity)

_BATCH_ROWS = 1000
_EVENTS = """
select aggregate, id, version, type, data::text, metadata::text, occurred_at from events
order by aggregate collate "C", id collate "C", version
"""
# A row is published after it was made: a row as old as what the stream drops may be gone from the stream already.
_OUTBOX = "select id, subject, headers from outbox where created_at > clock_timestamp() - $1::interval order by id"
_SNAPSHOTS = "select aggregate, id, version, tag, state::text from snapshots"
_SET_ASIDE = """
select seq, partition, key, source, message_id, row_id, headers, data,
    attempts, set_aside_at, retry_at, parked_at, error
from set_aside order by seq
"""


class PostgresServiceState:
    """One service's state, read in one transaction, so that all of it is from the same moment."""

    def __init__(self, name: str, connection: "asyncpg.Connection[Any]", stream_age: timedelta) -> None:
        self.connection = connection
        self._name = name
        self._stream_age = stream_age
        self._tables = {**FRAMEWORK_TABLES, **model_of(name).tables}

    async def events(self) -> AsyncIterator[StoredEvent]:
        """All events by aggregate, id and version."""
        async for aggregate, id_, version, type_, data, metadata, occurred_at in self._read(_EVENTS):
            yield StoredEvent(
                aggregate=aggregate,
                id=id_,
                version=version,
                type=type_,
                data=data,
                metadata=from_json(Metadata, metadata),
                occurred_at=occurred_at,
            )

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """All snapshots."""
        async for aggregate, id_, version, tag, state in self._read(_SNAPSHOTS):
            yield Snapshot(aggregate=aggregate, id=id_, version=version, tag=tag, state=state)

    async def rows(self, cls: type[R]) -> AsyncIterator[R]:
        """A whole table by id."""
        mapping = RowMapping(cls, self._tables[cls])
        async for row in self._read(f'{mapping.select} order by id collate "C"'):
            yield mapping.to_entity(row)

    async def outbox(self) -> AsyncIterator[Sent]:
        """What has been sent, as far as it is still kept in the outbox and in the stream."""
        async for id_, subject, headers in self._read(_OUTBOX, self._stream_age):
            yield Sent(f"{self._name}-{id_}", from_json(dict[str, str], headers)["ce-id"], subject)

    async def set_aside(self) -> AsyncIterator[SetAside]:
        """Messages that were set aside."""
        async for row in self._read(_SET_ASIDE):
            received = Received(
                position=0,
                row_id=row["row_id"],
                received_at=row["set_aside_at"],
                headers=from_json(dict[str, str], row["headers"]),
                data=row["data"],
            )
            yield SetAside(
                seq=row["seq"],
                partition=row["partition"],
                line=Line(row["key"], row["source"]),
                message_id=row["message_id"],
                received=received,
                attempts=row["attempts"],
                set_aside_at=row["set_aside_at"],
                retry_at=row["retry_at"],
                parked_at=row["parked_at"],
                error=row["error"],
            )

    async def missing(self) -> list[Missing]:
        """Messages that the service has found to be lost for good."""
        rows = await self.connection.fetch(
            "select partition, sender, after_row, before_row from missing_messages order by sender, before_row"
        )
        return [Missing(**row) for row in rows]

    async def claimed(self, message_ids: Collection[str]) -> set[str]:
        """Those of the given messages that are in the inbox."""
        rows = await self.connection.fetch(
            "select message_id from inbox where message_id = any($1::text[])", list(message_ids)
        )
        return {message_id for (message_id,) in rows}

    def _read(self, query: str, *arguments: object) -> Any:
        return self.connection.cursor(query, *arguments, prefetch=_BATCH_ROWS)


class RunningSystemState:
    """The state of all services, and the stream, of a running system."""

    def __init__(self, services: Mapping[str, PostgresServiceState], nats: NatsConnection) -> None:
        self.services = services
        self._nats = nats

    async def stream(self) -> AsyncIterator[Sent]:
        """What has been published, as far as it is still kept."""
        async with read(self._nats, self._nats.names.log, 0, SUBJECTS, to_end=True) as feed:
            while batch := await feed.take(_BATCH_ROWS, wait=5):
                for received in batch:
                    yield Sent(received.row_id, received.headers.get("ce-id", received.row_id), _route(received))

    async def pending(self, service: str) -> int:
        """The number of messages in the stream that the service has not read yet."""
        routes = model_of(service).routes
        if not routes:
            return 0
        rows = await self.services[service].connection.fetch("select partition, position from subscriptions")
        if not rows:
            bounds = await stream_bounds(self._nats)
            return bounds.last + 1 - bounds.first
        pending = 0
        for partition, position in rows:
            subjects = [subject_of(partition, route) for route in routes]
            async with read(self._nats, self._nats.names.log, position, subjects, to_end=True) as feed:
                # Counted, because some of them may be damaged and never arrive.
                while batch := await feed.take(_BATCH_ROWS, wait=5):
                    pending += len(batch)
        return pending


@asynccontextmanager
async def running_state(databases: Iterable[Database], nats: NatsAddress) -> AsyncIterator[RunningSystemState]:
    """The state of a running system as it is now. Raises OSError, PostgresError and BrokerUnavailable."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect(nats))
        stream_age = await max_age(connection)
        services = {}
        for database in databases:
            driver = await asyncpg.connect(
                database.url, server_settings={"application_name": "verify", "default_transaction_read_only": "on"}
            )
            stack.push_async_callback(driver.close)
            await stack.enter_async_context(driver.transaction(isolation="repeatable_read", readonly=True))
            services[database.service.name] = PostgresServiceState(database.service.name, driver, stream_age)
        yield RunningSystemState(services, connection)


def _route(received: Received) -> str:
    headers = received.headers
    kind = headers.get("ce-kind", "")
    return f"reply.{headers.get('ce-replyto')}" if kind == "reply" else f"{kind}.{headers.get('ce-type')}"
