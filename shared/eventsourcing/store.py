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
"""Bytes that a page of a list is made of. One thing alone may be more."""


def max_bytes_for(number: int) -> int | None:
    """How many bytes may be read for so many messages or requests; None: any number, or one could never be handled."""
    return MAX_READ_TOGETHER if number > 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What is stored beside an event: its own id, its schema version and where it comes from."""

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
    """An aggregate's fields at a version; `state` is JSON. `tag` names the shape that the fields had."""

    aggregate: str
    id: str
    version: int
    tag: str
    state: str


@dataclass(frozen=True, slots=True)
class History:
    """What an aggregate is folded from: a snapshot, if there is one, and the events after it."""

    snapshot: Snapshot | None
    events: Sequence[StoredEvent]


class EventStore(Protocol):
    """The events and snapshots of one database, in one transaction."""

    async def load(
        self, aggregate: str, tag: str, ids: Sequence[str], most: int | None = None
    ) -> Mapping[str, History]:
        """The histories of those that exist. A snapshot with another tag is passed over.

        Raises TooMuchAtOnce when they have more than `most` bytes of data, without reading much more than that.
        """

    async def append(self, events: Sequence[StoredEvent], snapshots: Sequence[Snapshot]) -> None:
        """Stores them; raises Conflict when a version is taken."""

    async def erase(self, aggregate: str, id_: str) -> None:
        """Overwrites what is personal in the aggregate's events, one of which erases, and drops its snapshot."""

    async def confirm(self, aggregate: str, versions: Mapping[str, int]) -> None:
        """Raises Conflict, now or when the transaction ends, unless each id's last stored version is that."""


class RowStore(Protocol[R]):
    """The rows of one kind, in one transaction."""

    async def load(self, ids: Sequence[str], most: int | None = None) -> Sequence[R]:
        """Those that exist.

        Raises TooMuchAtOnce when they have more than `most` bytes of text, without reading much more than that.
        """

    async def insert(self, rows: Sequence[R]) -> None:
        """New rows; raises Conflict when an id is taken."""

    async def update(self, rows: Sequence[tuple[R, int]]) -> None:
        """Rows with the version that each replaces; raises Conflict when that is not the stored one."""

    async def confirm(self, versions: Mapping[str, int]) -> None:
        """Raises Conflict, now or when the transaction ends, unless each id is stored with that version."""
