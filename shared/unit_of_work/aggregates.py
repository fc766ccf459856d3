"""`Aggregates`, and with `Rows` the repositories: where handlers get what they work with.

What changed is found out by the unit of work.

`Repository` and `rows.Rows` work in the same way. While a handler runs, they return one object for each id. They
journal the changes of these objects when the handler ends or something has to be written (`seal`), restore the objects
to that state when the handler fails (`reset`), and forget which objects they handed out when it has ended (`release`).

The database must confirm states that come from the cache (`confirm`) before anything is written. After the commit all
states go to the cache for the next unit of work (`remember`).
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, cast

from shared.core.clock import Clock
from shared.core.context import current_cause
from shared.core.errors import Conflict, NotFound
from shared.core.ids import new_id
from shared.core.messages import Event
from shared.core.serialization import decode_message, to_json
from shared.eventsourcing.aggregate import Aggregate, Entity
from shared.eventsourcing.snapshots import EVERY, SnapshotFormat
from shared.eventsourcing.store import EventStore, History, Metadata, Snapshot, StoredEvent
from shared.messaging.outbox import event_envelope
from shared.unit_of_work.cache import Recall
from shared.unit_of_work.journal import EventRecorded, Journal

A = TypeVar("A", bound=Aggregate[Any])
R = TypeVar("R", bound=Entity)

_NOTHING = History(None, ())
_RECALLED = History(None, ())
"""Marks an aggregate that came from the cache and was not read."""


class Aggregates(Generic[A]):
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
        """Return the aggregate; raise the repository's `unknown` error if there is none."""
        aggregate = await self.find(id_)
        if aggregate is None:
            raise self._unknown
        return aggregate

    async def find(self, id_: str) -> A | None:
        """Return the aggregate, or None."""
        await self.load([id_])
        aggregate = self._live.get(id_)
        if aggregate is not None:
            self._touched[id_] = aggregate
        return aggregate

    async def add(self, aggregate: A) -> A:
        """Add a new aggregate and return it.

        Its id must be new: if two transactions add the same id, one meets a Conflict.
        """
        self._histories.setdefault(aggregate.id, _NOTHING)
        self._live[aggregate.id] = self._touched[aggregate.id] = aggregate
        return aggregate

    async def load(self, ids: Iterable[str], most: int | None = None) -> None:
        """Read, in one query, those that have not been read yet. Raise TooMuchAtOnce as `EventStore.load` does."""
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
        """Journal the events that the handed-out aggregates have recorded, with the ids of the current cause."""
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
        """Restore the handed-out aggregates to the state in which they were last sealed."""
        for id_, aggregate in self._touched.items():
            if aggregate.recorded:
                self._fold(id_)

    def in_hand(self) -> int:
        """Return how many aggregates are handed out."""
        return len(self._touched)

    def release(self, before: int) -> None:
        """Forget which aggregates were handed out since there were `before` of them."""
        for id_ in list(self._touched)[before:]:
            del self._touched[id_]

    def close(self) -> None:
        """Clear all that was read or changed."""
        for kept in (self._histories, self._sealed, self._live, self._touched):
            kept.clear()

    async def confirm(self) -> None:
        """Have the database confirm the states from the cache: it raises Conflict, at the latest at commit."""
        if versions := self.recall.unconfirmed():
            await self._store.confirm(self._cls.aggregate_name, versions)

    def remember(self) -> None:
        """Put the committed states into the cache."""
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
            raise Conflict(f"{self._cls.__name__} {id_} came from the cache and cannot be restored: try again")
        sealed = self._sealed.get(id_, ())
        in_hand = self._touched.get(id_) or self._live.pop(id_, None)
        aggregate = self._cls(id=id_) if history.snapshot is None else self._snapshots.restore(history.snapshot)
        for stored in history.events:
            aggregate.replay(cast(Event, decode_message(stored.type, stored.data, stored.metadata.schema)))
        for event in sealed:
            aggregate.replay(event)
        if in_hand is not None:  # change the object itself: the handler that has it must see the change
            in_hand.__dict__ = aggregate.__dict__
            aggregate = in_hand
        if history is _NOTHING and not sealed:
            self._live.pop(id_, None)
        else:
            self._live[id_] = aggregate


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
    """Journal an event, with the ids of the current cause."""
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
