"""A service's database in memory, with the same ports as PostgreSQL's, for tests of whole systems in one process.

Only one transaction runs at a time, so each sees the changes of all before it. A failed transaction is undone, one
write after the other.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate, count
from typing import Any, Generic, TypeVar

from shared.core.clock import Clock, Due, utc_now
from shared.core.errors import Conflict, LeaseLost, TooMuchAtOnce
from shared.core.messages import message_type
from shared.core.serialization import to_json
from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import MAX_READ_TOGETHER, History, Snapshot, StoredEvent
from shared.messaging.broker import Mark, Publication, subject_of
from shared.messaging.chain import Missing
from shared.messaging.envelope import Envelope, partition_of
from shared.messaging.inbox import Claim, KeptReply
from shared.messaging.repair_log import Action, Repair
from shared.messaging.set_aside import (
    Line,
    Parked,
    ParkedFilter,
    PutAside,
    PutBack,
    SetAside,
    SetAsideChange,
    TakenUp,
)
from shared.saga.instance import SagaFilter, SagaInstance

R = TypeVar("R", bound=Entity)
T = TypeVar("T")
Undo = list[Callable[[], object]]


class MemoryDatabase:
    """Implements `unit_of_work.Database` and `subscription.Sessions`.

    `outbox` has the committed messages to publish, in order.
    """

    def __init__(self, name: str = "memory", clock: Clock = utc_now) -> None:
        self.name = name
        self.clock = clock
        self.events: dict[tuple[str, str], list[StoredEvent]] = defaultdict(list)
        self.snapshots: dict[tuple[str, str], Snapshot] = {}
        self.tables: dict[type[Entity], dict[str, Entity]] = defaultdict(dict)
        self.inbox: dict[str, Claim] = {}
        self.outbox: list[Publication] = []
        self.waiting: dict[int, SetAside] = {}
        self.repairs: list[Repair] = []
        self.positions: dict[int, Mark] = {}
        self.checkpoints: dict[int, list[Mark]] = {}
        self.heads: dict[int, Mapping[str, int]] = {}
        self.missing: list[Missing] = []
        self.holders: dict[int, tuple[int, datetime]] = {}
        self.let_go: dict[int, datetime] = {}
        self.alive: set[int] = set()
        self.sequence = count(1)
        self._one_at_a_time = asyncio.Lock()

    def clear(self) -> None:
        """Delete everything, as if it were new."""
        for kept in (
            self.events,
            self.snapshots,
            self.tables,
            self.inbox,
            self.outbox,
            self.waiting,
            self.repairs,
            self.positions,
            self.checkpoints,
            self.heads,
            self.missing,
            self.holders,
            self.let_go,
            self.alive,
        ):
            kept.clear()
        self.sequence = count(1)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryTransaction"]:
        async with self._one_at_a_time:
            undo: Undo = []
            try:
                yield MemoryTransaction(self, undo)
            except BaseException:
                for take_back in reversed(undo):
                    take_back()
                raise

    @asynccontextmanager
    async def session(self, holder: int) -> AsyncIterator["MemoryDatabase"]:
        self.alive.add(holder)
        try:
            yield self
        finally:
            self.alive.discard(holder)


class MemoryTransaction:
    """Implements `unit_of_work.Transaction`."""

    def __init__(self, database: MemoryDatabase, undo: Undo) -> None:
        self.database = database
        self.events = _Events(database, undo)
        self.inbox = _Inbox(database, undo)
        self.outbox = _Outbox(database, undo)
        self.waiting_room = _WaitingRoom(database, undo)
        self.repairs = _RepairLog(database, undo)
        self.positions = _Positions(database, undo)
        self.saga_timers = _SagaTimers(database)
        self._undo = undo

    def rows(self, cls: type[R]) -> "_RowStore[R]":
        return _RowStore(cls, self.database, self._undo)

    async def flush(self) -> None:
        """Do nothing: the stores write at once."""


class _Events:
    """Implements `store.EventStore`."""

    def __init__(self, database: MemoryDatabase, undo: Undo) -> None:
        self._database = database
        self._undo = undo

    async def load(
        self, aggregate: str, tag: str, ids: Sequence[str], most: int | None = None
    ) -> Mapping[str, History]:
        found = {id_: self._history(aggregate, tag, id_) for id_ in ids if self._database.events.get((aggregate, id_))}
        texts = [event.data for history in found.values() for event in history.events]
        texts += [history.snapshot.state for history in found.values() if history.snapshot is not None]
        _limit(most, texts)
        return found

    async def append(self, events: Sequence[StoredEvent], snapshots: Sequence[Snapshot]) -> None:
        for event in events:
            stream = self._database.events[event.aggregate, event.id]
            if event.version != len(stream) + 1:
                raise Conflict(f"{event.aggregate} {event.id} has a version {event.version} already")
            _append(stream, event, self._undo)
        for snapshot in snapshots:
            _put(self._database.snapshots, (snapshot.aggregate, snapshot.id), snapshot, self._undo)

    async def erase(self, aggregate: str, id_: str) -> None:
        stream = self._database.events[aggregate, id_]
        _put(self._database.events, (aggregate, id_), [_erased(event) for event in stream], self._undo)
        _remove(self._database.snapshots, (aggregate, id_), self._undo)

    async def confirm(self, aggregate: str, versions: Mapping[str, int]) -> None:
        for id_, version in versions.items():
            if len(self._database.events.get((aggregate, id_), ())) != version:
                raise Conflict(f"{aggregate} {id_} is not at version {version}")

    def _history(self, aggregate: str, tag: str, id_: str) -> History:
        snapshot = self._database.snapshots.get((aggregate, id_))
        if snapshot is not None and snapshot.tag != tag:
            snapshot = None
        return History(snapshot, self._database.events[aggregate, id_][snapshot.version if snapshot else 0 :])


def _erased(event: StoredEvent) -> StoredEvent:
    type_ = message_type(event.type)
    data = json.loads(event.data)
    erased = {} if type_ is None else {name: value for name, value in type_.personal.items() if name in data}
    return replace(event, data=to_json({**data, **erased})) if erased else event


class _RowStore(Generic[R]):
    """Implements `store.RowStore`."""

    def __init__(self, cls: type[R], database: MemoryDatabase, undo: Undo) -> None:
        self._table: dict[str, Any] = database.tables[cls]
        self._undo = undo

    async def load(self, ids: Sequence[str], most: int | None = None) -> Sequence[R]:
        found = [copy(self._table[id_]) for id_ in ids if id_ in self._table]
        _limit(most, [] if most is None else [to_json(row) for row in found])
        return found

    async def insert(self, rows: Sequence[R]) -> None:
        for row in rows:
            if row.id in self._table:
                raise Conflict(f"{type(row).__name__} {row.id} exists already")
            _put(self._table, row.id, copy(row), self._undo)

    async def update(self, rows: Sequence[tuple[R, int]]) -> None:
        for row, replaces in rows:
            if row.id not in self._table or self._table[row.id].version != replaces:
                raise Conflict(f"{type(row).__name__} {row.id} is not at version {replaces}")
            _put(self._table, row.id, copy(row), self._undo)

    async def confirm(self, versions: Mapping[str, int]) -> None:
        for id_, version in versions.items():
            if id_ not in self._table or self._table[id_].version != version:
                raise Conflict(f"row {id_} is not at version {version}")


class _Inbox:
    """Implements `inbox.Inbox`."""

    def __init__(self, database: MemoryDatabase, undo: Undo) -> None:
        self._claims = database.inbox
        self._undo = undo

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Claim]:
        return {id_: self._claims[id_] for id_ in message_ids if id_ in self._claims}

    async def add(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if claim.message_id in self._claims:
                raise Conflict(f"message {claim.message_id} has been handled")
            _put(self._claims, claim.message_id, claim, self._undo)

    async def keep_replies(self, replies: Sequence[KeptReply]) -> None:
        for kept in replies:
            claim = self._claims[kept.message_id]
            _put(self._claims, kept.message_id, replace(claim, reply=kept.reply), self._undo)


class _Outbox:
    """Implements `outbox.Outbox`."""

    def __init__(self, database: MemoryDatabase, undo: Undo) -> None:
        self._database = database
        self._undo = undo

    async def add(self, messages: Sequence[Envelope]) -> None:
        for message in messages:
            publication = Publication(
                row_id=f"{self._database.name}-{len(self._database.outbox) + 1}",
                subject=subject_of(partition_of(message.key, 1), message.route),
                headers=message.to_headers(),
                data=message.data,
            )
            _append(self._database.outbox, publication, self._undo)


class _WaitingRoom:
    """Implements `set_aside.WaitingRoom`."""

    def __init__(self, database: MemoryDatabase, undo: Undo) -> None:
        self._database = database
        self._waiting = database.waiting
        self._undo = undo

    async def blocked(self, lines: Sequence[Line]) -> set[Line]:
        return {message.line for message in self._waiting.values()} & set(lines)

    async def heads(self, partition: int, due: Due, limit: int) -> Sequence[SetAside]:
        heads = [head for head in self._heads(partition) if head.parked_at is None and due.has_come(head.retry_at)]
        heads = sorted(heads, key=lambda head: (head.retry_at, head.seq))[:limit]
        before = accumulate((len(head.received.data.encode()) for head in heads), initial=0)
        return [head for head, size in zip(heads, before, strict=False) if size < MAX_READ_TOGETHER]

    async def next_due(self, partition: int, due: Due) -> datetime | None:
        return _earliest(due, (head.retry_at for head in self._heads(partition) if head.parked_at is None))

    async def write(self, changes: Sequence[SetAsideChange]) -> None:
        for change in changes:
            match change:
                case PutAside(message):
                    seq = next(self._database.sequence)
                    _put(self._waiting, seq, replace(message, seq=seq), self._undo)
                case PutBack(message):
                    _put(self._waiting, message.seq, message, self._undo)
                case TakenUp(message):
                    _remove(self._waiting, message.seq, self._undo)

    async def is_empty(self) -> bool:
        return not self._waiting

    async def is_crowded(self, number: int) -> bool:
        parked = {message.line for message in self._waiting.values() if message.parked_at is not None}
        return sum(message.line in parked for message in self._waiting.values()) >= number

    async def parked(self, wanted: ParkedFilter, limit: int) -> Sequence[Parked]:
        found = [message for _, message in sorted(self._waiting.items()) if _is_wanted(message, wanted)]
        return [Parked(message=head, behind=len(self._of(head.line)) - 1) for head in found[:limit]]

    async def hold_parked(self, message_id: str) -> SetAside | None:
        found = (head.message for head in await self.parked(ParkedFilter(message_id=message_id), 1))
        return next(found, None)

    async def line(self, line: Line, limit: int) -> Sequence[SetAside]:
        return self._of(line)[:limit]

    async def redrive(self, line: Line, now: datetime) -> int:
        waiting = self._of(line)
        for message in waiting:
            renewed = replace(message, parked_at=None, retry_at=now, set_aside_at=now, attempts=0)
            _put(self._waiting, message.seq, renewed, self._undo)
        return len(waiting)

    def _of(self, line: Line) -> list[SetAside]:
        return [message for _, message in sorted(self._waiting.items()) if message.line == line]

    def _heads(self, partition: int) -> list[SetAside]:
        heads: dict[Line, SetAside] = {}
        for _, message in sorted(self._waiting.items()):
            if message.partition == partition:
                heads.setdefault(message.line, message)
        return list(heads.values())


def _is_wanted(message: SetAside, wanted: ParkedFilter) -> bool:
    return (
        message.parked_at is not None
        and wanted.message_id in (None, message.message_id)
        and wanted.key in (None, message.line.key)
        and wanted.type in (None, message.received.headers.get("ce-type"))
        and (wanted.error is None or wanted.error.lower() in message.error.lower())
    )


class _RepairLog:
    """Implements `repair_log.RepairLog`."""

    def __init__(self, database: MemoryDatabase, undo: Undo) -> None:
        self._repairs = database.repairs
        self._undo = undo

    async def add(self, repairs: Sequence[Repair]) -> None:
        for repair in repairs:
            _append(self._repairs, repair, self._undo)

    async def latest(self, actions: Collection[Action], subject: str | None, limit: int) -> Sequence[Repair]:
        newest = reversed(self._repairs)
        return [done for done in newest if done.action in actions and subject in (None, done.subject)][:limit]


class _Positions:
    """Implements `positions.Positions`."""

    def __init__(self, database: MemoryDatabase, undo: Undo) -> None:
        self._database = database
        self._undo = undo

    async def take(self, partition: int, holder: int, lease: timedelta, *, patient: bool = False) -> bool:
        now = self._database.clock()
        present = self._database.holders.get(partition)
        until = present[1] if present else self._database.let_go.get(partition)
        lasts = until is not None and not Due(now, 2 * lease).has_come(until)
        if patient and (until is None or lasts):
            return False
        if present and present[0] != holder and present[0] in self._database.alive and lasts:
            return False
        _put(self._database.holders, partition, (holder, now + lease), self._undo)
        return True

    async def release(self, partition: int, holder: int) -> None:
        present = self._database.holders.get(partition)
        if present and present[0] == holder:
            _put(self._database.let_go, partition, present[1], self._undo)
            _remove(self._database.holders, partition, self._undo)

    async def is_free(self, partition: int) -> bool:
        holder, _ = self._database.holders.get(partition, (None, None))
        return holder not in self._database.alive

    async def present(self, silence: timedelta) -> Mapping[int, int | None]:
        held = {holder: partition for partition, (holder, _) in self._database.holders.items()}
        return {holder: held.get(holder) for holder in self._database.alive}

    async def get(self, partition: int) -> Mark | None:
        return self._database.positions.get(partition)

    async def heads(self, partition: int) -> Mapping[str, int]:
        return self._database.heads.get(partition, {})

    async def advance(
        self, partition: int, holder: int, mark: Mark | None, lease: timedelta, heads: Mapping[str, int] | None = None
    ) -> None:
        if self._database.holders.get(partition, (None,))[0] != holder:
            raise LeaseLost(f"partition {partition} is held by another replica")
        _put(self._database.holders, partition, (holder, self._database.clock() + lease), self._undo)
        if mark is not None:
            _put(self._database.positions, partition, mark, self._undo)
        if heads is not None:
            _put(self._database.heads, partition, heads, self._undo)

    async def add_checkpoint(self, partition: int, mark: Mark) -> None:
        earlier = self._database.checkpoints.get(partition, ())
        others = [checkpoint for checkpoint in earlier if checkpoint.position != mark.position]
        _put(self._database.checkpoints, partition, [mark, *others], self._undo)

    async def checkpoints(self, partition: int) -> Sequence[Mark]:
        return sorted(self._database.checkpoints.get(partition, []), key=lambda mark: mark.position, reverse=True)

    async def note_missing(self, missing: Sequence[Missing]) -> None:
        for each in missing:
            if each not in self._database.missing:
                _append(self._database.missing, each, self._undo)

    async def missing(self) -> Sequence[Missing]:
        return list(self._database.missing)


class _SagaTimers:
    """Implements `instance.SagaTimers`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def due(self, due: Due, limit: int) -> Sequence[tuple[str, str]]:
        waiting = sorted((saga.due_at, saga.id, saga.correlation_id) for saga in self._sagas() if saga.due_at)
        return [(id_, correlation_id) for due_at, id_, correlation_id in waiting if due.has_come(due_at)][:limit]

    async def next_due(self, due: Due) -> datetime | None:
        return _earliest(due, (saga.due_at for saga in self._sagas() if saga.due_at))

    async def unfinished(self, wanted: SagaFilter, limit: int) -> Sequence[SagaInstance]:
        found = [
            saga
            for saga in self._sagas()
            if not saga.position.finished
            and wanted.id in (None, saga.id)
            and wanted.stuck in (None, saga.stuck)
            and wanted.type in (None, saga.type)
            and (wanted.error is None or wanted.error.lower() in saga.error.lower())
        ]
        return sorted(found, key=lambda saga: saga.started_at)[:limit]

    def _sagas(self) -> list[SagaInstance]:
        return [copy(saga) for saga in self._database.tables[SagaInstance].values() if isinstance(saga, SagaInstance)]


def _earliest(due: Due, times: Iterable[datetime]) -> datetime | None:
    return min((due.now if due.has_come(at) else at for at in times), default=None)


def _append(values: list[T], value: T, undo: Undo) -> None:
    values.append(value)
    undo.append(lambda: values.pop())


def _limit(most: int | None, texts: Iterable[str]) -> None:
    if most is not None and sum(len(text.encode()) for text in texts) > most:
        raise TooMuchAtOnce(f"more than {most} bytes")


def _put(mapping: dict[Any, Any], key: Any, value: Any, undo: Undo) -> None:
    if key in mapping:
        before = mapping[key]
        undo.append(lambda: mapping.__setitem__(key, before))
    else:
        undo.append(lambda: mapping.pop(key))
    mapping[key] = value


def _remove(mapping: dict[Any, Any], key: Any, undo: Undo) -> None:
    if key in mapping:
        before = mapping.pop(key)
        undo.append(lambda: mapping.__setitem__(key, before))
