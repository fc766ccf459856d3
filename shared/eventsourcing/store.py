"""The event store and the row store: ports that memory and PostgreSQL implement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from shared.eventsourcing.aggregate import Entity

R = TypeVar("R", bound=Entity)

MAX_READ_TOGETHER = 2 << 20
"""Bytes that are read of one kind for several messages, or requests, at once. What one alone is about may be more."""
MAX_PAGE = 1 << 20
"""The most bytes that are read for a page of a list. One item alone may have more."""


def max_bytes_for(number: int) -> int | None:
    """Return how many bytes may be read for that many messages or requests.

    None means no limit, for a single one: otherwise it could never be handled.
    """
    return MAX_READ_TOGETHER if number > 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """The data stored beside an event: its own id, its schema version, and the ids of its cause."""

    id: str
    schema: int
    correlation_id: str
    causation_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """An event as it is stored; `data` is JSON. `(aggregate, id, version)` is unique: the optimistic lock."""

    aggregate: str
    id: str
    version: int
    type: str
    data: str
    metadata: Metadata
    occurred_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """An aggregate's fields at a version; `state` is JSON. `tag` identifies the shape of the fields."""

    aggregate: str
    id: str
    version: int
    tag: str
    state: str


@dataclass(frozen=True, slots=True)
class History:
    """The stored data of an aggregate: a snapshot, if there is one, and the events after it."""

    snapshot: Snapshot | None
    events: Sequence[StoredEvent]


class EventStore(Protocol):
    """The events and snapshots of one database, in one transaction."""

    async def load(
        self, aggregate: str, tag: str, ids: Sequence[str], most: int | None = None
    ) -> Mapping[str, History]:
        """Return the histories of the aggregates that exist, by id. A snapshot with another tag is ignored.

        Raise TooMuchAtOnce when they have more than `most` bytes of data, without reading much more than that.
        """

    async def append(self, events: Sequence[StoredEvent], snapshots: Sequence[Snapshot]) -> None:
        """Store the events and snapshots; raise Conflict when a version is taken."""

    async def erase(self, aggregate: str, id_: str) -> None:
        """Overwrite the personal fields in all events of an aggregate, and delete its snapshot.

        Call it when an event that `erases` has been stored.
        """

    async def confirm(self, aggregate: str, versions: Mapping[str, int]) -> None:
        """Check that each id's last stored version is the given one; else raise Conflict, at the latest at commit."""


class RowStore(Protocol[R]):
    """The rows of one kind, in one transaction."""

    async def load(self, ids: Sequence[str], most: int | None = None) -> Sequence[R]:
        """Return the rows that exist.

        Raise TooMuchAtOnce when they have more than `most` bytes of text, without reading much more than that.
        """

    async def insert(self, rows: Sequence[R]) -> None:
        """Insert new rows; raise Conflict when an id is taken."""

    async def update(self, rows: Sequence[tuple[R, int]]) -> None:
        """Replace rows, each given with the stored version that it replaces; raise Conflict if that differs."""

    async def confirm(self, versions: Mapping[str, int]) -> None:
        """Check that each id is stored with the given version; else raise Conflict, at the latest at commit."""
