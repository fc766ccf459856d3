"""Repositories: where handlers get aggregates and rows from. What changed is found out by the unit of work.

Both kinds hand out one object for an id while a handler runs, journal what has happened to the objects when it is
through or something has to be written (`seal`), take the same objects back to that point when it fails (`reset`), and
forget which ones it was handed when it has ended (`release`).

What they recall instead of reading it the database has to confirm (`confirm`) before anything is written. When all is
committed it is kept for the next unit of work (`remember`).
"""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any, Generic, TypeVar, cast

from shared.core.clock import Clock
from shared.core.context import current_cause
from shared.core.errors import Conflict, NotFound, TooMuchAtOnce
from shared.core.ids import new_id
from shared.core.messages import Event
from shared.eventsourcing.aggregate import Aggregate, Entity, RecordingEntity
from shared.eventsourcing.cache import Recall
from shared.eventsourcing.snapshots import EVERY, SnapshotFormat
from shared.eventsourcing.store import MAX_PAGE, EventStore, History, Metadata, RowStore, Snapshot, StoredEvent
from shared.journal import EventRecorded, Journal, RowChanged
from shared.outbox.outbox import event_envelope
from shared.serialization import decode_message, to_json

A = TypeVar("A", bound=Aggregate[Any])
R = TypeVar("R", bound=Entity)

_NOTHING = History(None, ())
_RECALLED = History(None, ())
"""Of an aggregate that came from the cache, and was not read."""


class Repository(Generic[A]):
    """Event-sourced aggregates of one class."""

    def __init__(
        self,
        cls: type[A],
        store: EventStore,
        journal: Journal,
        clock: Clock,
        *,
        unknown: type[NotFound],
        snapshots: SnapshotFormat[A],
        on_change: Callable[[A, int], None] | None = None,
    ) -> None:
        self._cls = cls
        self._store = store
        self._journal = journal
        self._clock = clock
        self._unknown = unknown
        self._snapshots = snapshots
        self._on_change = on_change
        self._histories: dict[str, History] = {}
        self._sealed: dict[str, list[Event]] = {}
        self._live: dict[str, A] = {}
        self._touched: dict[str, A] = {}
        self.recall = Recall(cls)

    async def get(self, id_: str) -> A:
        """The aggregate; raises the repository's `unknown`."""
        aggregate = await self.find(id_)
        if aggregate is None:
            raise self._unknown
        return aggregate

    async def find(self, id_: str) -> A | None:
        """The aggregate, or None."""
        await self.load([id_])
        aggregate = self._live.get(id_)
        if aggregate is not None:
            self._touched[id_] = aggregate
        return aggregate

    async def add(self, aggregate: A) -> A:
        """A new aggregate, under an id that nothing else has: two transactions that add the same are a Conflict."""
        self._histories.setdefault(aggregate.id, _NOTHING)
        self._live[aggregate.id] = self._touched[aggregate.id] = aggregate
        return aggregate

    async def load(self, ids: Iterable[str], most: int | None = None) -> None:
        """Reads, in one query, those that have not been read yet. Raises TooMuchAtOnce; see the store."""
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._histories]
        recalled = self.recall.take(missing)
        for id_, aggregate in recalled.items():
            self._histories[id_] = _RECALLED
            self._live[id_] = aggregate
        missing = [id_ for id_ in missing if id_ not in recalled]
        if not missing:
            return
        found = await self._store.load(self._cls.aggregate_name, self._snapshots.tag, missing, most)
        for id_ in missing:
            self._histories[id_] = found.get(id_, _NOTHING)
            self._fold(id_)

    def seal(self) -> None:
        """Journals what the handed-out aggregates have recorded, under the cause that is being handled."""
        for id_, aggregate in self._touched.items():
            events = aggregate.take_recorded()
            if not events:
                continue
            self._live[id_] = aggregate
            for version, event in enumerate(events, start=aggregate.version - len(events) + 1):
                self._journal_event(aggregate, version, event)
            if self._on_change is not None:
                self._on_change(aggregate, aggregate.version - len(events))

    def reset(self) -> None:
        """Takes the handed-out aggregates back to where they were sealed."""
        for id_, aggregate in self._touched.items():
            if aggregate.recorded:
                self._fold(id_)

    def in_hand(self) -> int:
        """How many are handed out."""
        return len(self._touched)

    def release(self, before: int) -> None:
        """What was handed out since there were `before` of them is in nobody's hands any more."""
        for id_ in list(self._touched)[before:]:
            del self._touched[id_]

    def close(self) -> None:
        """Forgets everything."""
        for kept in (self._histories, self._sealed, self._live, self._touched):
            kept.clear()

    async def confirm(self) -> None:
        """Has the database confirm what came from the cache: Conflict, at the latest when all is committed."""
        if versions := self.recall.unconfirmed():
            await self._store.confirm(self._cls.aggregate_name, versions)

    def remember(self) -> None:
        """What is here has been committed: it goes to the cache."""
        self.recall.keep(aggregate for aggregate in self._live.values() if aggregate.version)

    def _journal_event(self, aggregate: A, version: int, event: Event) -> None:
        id_ = aggregate.id

        def undo() -> None:
            self._sealed[id_].pop()
            self._fold(id_)

        self._sealed.setdefault(id_, []).append(event)
        snapshot = (lambda: self._snapshots.take(self._live[id_])) if version % EVERY == 0 else None
        record(self._journal, aggregate.aggregate_name, id_, version, event, self._clock, snapshot, undo)

    def _fold(self, id_: str) -> None:
        history = self._histories[id_]
        if history is _RECALLED:
            raise Conflict(f"{self._cls.__name__} {id_} came from the cache and can't be taken back: it has to be read")
        sealed = self._sealed.get(id_, ())
        in_hand = self._touched.get(id_) or self._live.pop(id_, None)
        aggregate = self._cls(id=id_) if history.snapshot is None else self._snapshots.restore(history.snapshot)
        for stored in history.events:
            aggregate.replay(cast(Event, decode_message(stored.type, stored.data, stored.metadata.schema)))
        for event in sealed:
            aggregate.replay(event)
        if in_hand is not None:  # whoever holds it is to see it taken back
            in_hand.__dict__ = aggregate.__dict__
            aggregate = in_hand
        if history is _NOTHING and not sealed:
            self._live.pop(id_, None)
        else:
            self._live[id_] = aggregate


class Rows(Generic[R]):
    """Entities of one class, kept as rows. What is got and changed is written; there is nothing to save."""

    def __init__(
        self, cls: type[R], store: RowStore[R], journal: Journal, clock: Clock, *, unknown: type[NotFound]
    ) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._unknown = unknown
        self._stored: dict[str, int] = {}
        self._sealed: dict[str, R | None] = {}
        self._touched: dict[str, R] = {}
        self.recall = Recall(cls)

    async def get(self, id_: str) -> R:
        """The entity; raises the rows' `unknown`."""
        row = await self.find(id_)
        if row is None:
            raise self._unknown
        return row

    async def find(self, id_: str) -> R | None:
        """The entity, or None."""
        if id_ not in self._touched:
            await self.load([id_])
            sealed = self._sealed[id_]
            if sealed is None:
                return None
            self._touched[id_] = copy(sealed)
        return self._touched[id_]

    async def add(self, row: R) -> R:
        """A new entity, under an id that nothing else has: two transactions that add the same are a Conflict."""
        if self._touched.get(row.id) is not None or self._sealed.get(row.id) is not None:
            raise Conflict(f"{type(row).__name__} {row.id} exists already")
        self._stored.setdefault(row.id, 0)
        self._sealed.setdefault(row.id, None)
        self._touched[row.id] = row
        return row

    def put(self, row: R, replaces: int) -> None:
        """An entity that is derived from an aggregate, with its version; no reading back before writing."""
        self._stored.setdefault(row.id, replaces)
        self._touched.pop(row.id, None)
        self._seal(row)

    async def load(self, ids: Iterable[str], most: int | None = None) -> None:
        """Reads, in one query, those that have not been read yet. Raises TooMuchAtOnce; see the store."""
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._sealed]
        recalled = self.recall.take(missing)
        for id_, row in recalled.items():
            self._sealed[id_] = row
            self._stored[id_] = row.version
        missing = [id_ for id_ in missing if id_ not in recalled]
        if not missing:
            return
        found = {row.id: row for row in await self._store.load(missing, most)}
        for id_ in missing:
            read = self._sealed[id_] = found.get(id_)
            self._stored[id_] = read.version if read is not None else 0

    async def first_of(self, ids: Sequence[str]) -> Sequence[R]:
        """The first of these entities, at least one, as many as a page can hold: to be looked at only."""
        while True:
            try:
                await self.load(ids, MAX_PAGE if len(ids) > 1 else None)
            except TooMuchAtOnce:
                ids = ids[: len(ids) // 2]
            else:
                return [row for id_ in ids if (row := self._sealed[id_]) is not None]

    def loaded(self, id_: str) -> R | None:
        """The entity as it was read, to be looked at only; None if there is none, or it has not been read."""
        return self._sealed.get(id_)

    def seal(self) -> None:
        """Journals the handed-out entities that have changed, and the events they recorded."""
        for id_, row in self._touched.items():
            if isinstance(row, RecordingEntity):
                events = row.take_recorded()
                for sequence, event in enumerate(events, start=row.sequence - len(events) + 1):
                    record(self._journal, row.aggregate_name, id_, sequence, event, self._clock)
            if row != self._sealed[id_]:
                row.version = self._stored[id_] + 1
                self._seal(copy(row))

    def reset(self) -> None:
        """Takes the handed-out entities back to where they were sealed."""
        for id_, row in list(self._touched.items()):
            sealed = self._sealed.get(id_)
            if sealed is None:
                del self._touched[id_]
            elif row != sealed:
                row.__dict__.update(copy(sealed).__dict__)

    def in_hand(self) -> int:
        """How many are handed out."""
        return len(self._touched)

    def release(self, before: int) -> None:
        """What was handed out since there were `before` of them is in nobody's hands any more."""
        for id_ in list(self._touched)[before:]:
            del self._touched[id_]

    def close(self) -> None:
        """Forgets everything."""
        for kept in (self._stored, self._sealed, self._touched):
            kept.clear()

    async def confirm(self) -> None:
        """Has the database confirm what came from the cache and is not written anyway, which confirms it as well."""
        versions = self.recall.unconfirmed()
        unchanged = {id_: version for id_, version in versions.items() if self._version(id_) == version}
        if unchanged:
            await self._store.confirm(unchanged)

    def remember(self) -> None:
        """What is here has been committed: it goes to the cache."""
        self.recall.keep(row for row in self._sealed.values() if row is not None)

    async def write(self, rows: Iterable[R]) -> None:
        """Brings the last state of each of the rows to the database."""
        latest = {row.id: row for row in rows}
        inserts = [row for row in latest.values() if self._stored[row.id] == 0]
        updates = [(row, stored) for row in latest.values() if (stored := self._stored[row.id]) > 0]
        if inserts:
            await self._store.insert(inserts)
        if updates:
            await self._store.update(updates)
        self._stored.update((row.id, row.version) for row in latest.values())

    def _version(self, id_: str) -> int:
        row = self._sealed[id_]
        return 0 if row is None else row.version

    def _seal(self, row: R) -> None:
        known, before = row.id in self._sealed, self._sealed.get(row.id)

        def undo() -> None:
            if known:
                self._sealed[row.id] = before
            else:  # it has not been read: whether there is one is not known
                del self._sealed[row.id]

        self._sealed[row.id] = row
        self._journal.append(RowChanged(row, undo))


def record(
    journal: Journal,
    aggregate: str,
    id_: str,
    version: int,
    event: Event,
    clock: Clock,
    snapshot: Callable[[], Snapshot] | None = None,
    undo: Callable[[], None] = lambda: None,
) -> None:
    """Journals an event, with the ids of what is being handled."""
    cause = current_cause()
    stored = StoredEvent(
        aggregate=aggregate,
        id=id_,
        version=version,
        type=event.type_name,
        data=to_json(event),
        metadata=Metadata(id=new_id(), schema=event.schema, correlation_id=cause.correlation_id, causation_id=cause.id),
        occurred_at=clock(),
    )
    envelope = event_envelope(stored, event, cause.traceparent) if event.is_public else None
    journal.append(EventRecorded(stored, event, envelope, snapshot, undo))
