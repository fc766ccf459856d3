"""Test data for the suite of the database port."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from shared.core.clock import Due
from shared.core.messages import Event
from shared.core.serialization import Json
from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import Metadata, Snapshot, StoredEvent
from shared.messaging.envelope import Envelope, Received
from shared.messaging.set_aside import Line, SetAside
from shared.processing.subscription import Sessions
from shared.saga.instance import SagaInstance
from shared.saga.machine import Phase
from shared.unit_of_work.unit_of_work import Database

NOWHERE = {"street1": "", "street2": None}
"""Replaces an address that was erased."""


class ParcelSent(Event, service="parcels", personal={"deliver_to": NOWHERE}):
    """An event with personal data."""

    deliver_to: dict[str, str | None]


class RecipientErased(Event, service="parcels", erases=True):
    """An event that erases personal data."""


NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def due(now: datetime) -> Due:
    """Return what is due at that time, where no pause is longer than two hours."""
    return Due(now, 2 * HOUR)


class Size(StrEnum):
    """An enum for a column."""

    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, kw_only=True)
class Content:
    """A value for a JSON column."""

    name: str
    count: int


@dataclass(kw_only=True)
class Parcel(Entity):
    """A row with every kind of column: text, number, enum, time, JSON, and nullable ones."""

    size: Size
    weight: int
    fragile: bool = False
    contents: tuple[Content, ...] = ()
    labels: dict[str, str | None]
    note: str | None = None
    sent_at: datetime | None = None
    insured: Content | None = None


class OpenDatabase(Database, Sessions, Protocol):
    """A database with both ports, as PostgreSQL's pool and memory have them."""


Databases = Callable[[], AbstractAsyncContextManager[OpenDatabase]]


class Unexpected(Exception):
    """An error that ends a transaction."""


def event(id_: str, version: int, aggregate: str = "Order", data: str = '{"n":1}') -> StoredEvent:
    """Return a stored event."""
    return StoredEvent(
        aggregate=aggregate,
        id=id_,
        version=version,
        type=ParcelSent.type_name,
        data=data,
        metadata=Metadata(id=f"{id_}-{version}", schema=2, correlation_id="c", causation_id="k"),
        occurred_at=NOON,
    )


def snapshot(id_: str, version: int, tag: str = "t1", state: str = '{"a":"b"}') -> Snapshot:
    """Return a snapshot."""
    return Snapshot(aggregate="Order", id=id_, version=version, tag=tag, state=state)


def parcel(id_: str, version: int = 1, **fields: Any) -> Parcel:
    """Return a row."""
    return Parcel(**{"id": id_, "version": version, "size": Size.SMALL, "weight": 7, "labels": {}, **fields})


def envelope(id_: str, key: str = "k") -> Envelope:
    """Return a reply with every optional field set."""
    return Envelope(
        id=id_,
        type="kitchen.CreateTicketReply",
        kind="reply",
        source="kitchen",
        key=key,
        data='{"ticket_id":"Zoë"}',
        time=NOON,
        correlation_id="c",
        causation_id="k",
        subject="s",
        sequence=3,
        saga_id="saga",
        reply_to="order",
        reply_key="rk",
        outcome="success",
        traceparent="00-1-2-01",
    )


def line(key: str, source: str = "tests") -> Line:
    """Return the line of a sender and a key."""
    return Line(key, source)


def waiting(id_: str, key: str = "a", retry_at: datetime = NOON, partition: int = 0) -> SetAside:
    """Return a message to be set aside."""
    headers = {"ce-id": id_, "ce-type": "order.OrderCreated"}
    received = Received(position=9, row_id=f"row-{id_}", received_at=NOON, headers=headers, data='{"x":1}')
    return SetAside(
        partition=partition, line=line(key), message_id=id_, received=received, set_aside_at=NOON, retry_at=retry_at
    )


def saga(id_: str, due_at: datetime | None = None, **fields: Any) -> SagaInstance:
    """Return a saga's row."""
    defaults: dict[str, Any] = {
        "id": id_,
        "version": 1,
        "type": "order.CreateOrderSaga",
        "key": "k",
        "data": Json('{"order_id": "o"}'),
        "step": 2,
        "phase": Phase.FORWARD,
        "due_at": due_at,
        "correlation_id": f"c-{id_}",
        "started_at": NOON,
        "updated_at": NOON,
    }
    return SagaInstance(**{**defaults, **fields})


def ids(messages: Any) -> list[str]:
    """Return the ids of waiting messages."""
    return [message.message_id for message in messages]
