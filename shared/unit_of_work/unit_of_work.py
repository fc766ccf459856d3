"""The unit of work: keeps all changes of one transaction together until they are written. Handlers never commit.

Martin Fowler, Patterns of Enterprise Application Architecture, page 184.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from shared.core.clock import Clock, utc_now
from shared.core.context import Cause, current_cause, handling
from shared.core.errors import DomainError, NotFound, TechnicalFault, TooMuchAtOnce
from shared.core.messages import Event, Message
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Aggregate, Entity
from shared.eventsourcing.snapshots import SnapshotFormat
from shared.eventsourcing.store import EventStore, RowStore, Snapshot, StoredEvent, max_bytes_for
from shared.messaging.envelope import Envelope, MessageTooLarge
from shared.messaging.inbox import Claim, InboxStore, KeptReply
from shared.messaging.outbox import OutboxStore
from shared.messaging.positions import Positions
from shared.messaging.repair_log import RepairLog
from shared.messaging.set_aside import PutAside, PutBack, SetAsideChange, TakenUp, WaitingRoom
from shared.saga.instance import SagaInstance, SagaTimers
from shared.saga.orchestrator import SagaNotFound, Sagas
from shared.saga.saga import Saga
from shared.unit_of_work.aggregates import Aggregates
from shared.unit_of_work.cache import StateCache
from shared.unit_of_work.idempotency import KeptAnswer
from shared.unit_of_work.journal import Entry, EventRecorded, Journal, RowChanged
from shared.unit_of_work.prefetch import ids_named_by
from shared.unit_of_work.rows import Rows

A = TypeVar("A", bound=Aggregate[Any])
R = TypeVar("R", bound=Entity)
U_co = TypeVar("U_co", bound="UnitOfWork", covariant=True)
U = TypeVar("U", bound="UnitOfWork")

MAX_WRITTEN_TOGETHER = 512 << 10
"""The characters of data that several messages or requests may send in one unit of work.

One alone may send more. In memory they take several times as much: as events, messages and rows, and again when they
are sent to the database.
"""


class Transaction(Protocol):
    """A database transaction, as a unit of work uses it: memory and PostgreSQL implement it."""

    @property
    def events(self) -> EventStore: ...
    @property
    def inbox(self) -> InboxStore: ...
    @property
    def outbox(self) -> OutboxStore: ...
    @property
    def waiting_room(self) -> WaitingRoom: ...
    @property
    def repairs(self) -> RepairLog: ...
    @property
    def positions(self) -> Positions: ...
    @property
    def saga_timers(self) -> SagaTimers: ...
    def rows(self, cls: type[R]) -> RowStore[R]:
        """Return the store of that class."""

    async def flush(self) -> None:
        """Send what the stores were given to the database.

        Stores may delay writes, and the errors of writes, until the next read.
        """


class Database(Protocol):
    """Opens transactions: committed when the block ends, rolled back when it raises."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction.

        Raise TechnicalFault when the database cannot be reached, lacks resources, or finds a deadlock.
        """


class AlreadyWritten(TechnicalFault):
    """A handler refused after a part of its work was written: the whole transaction must be rolled back."""


class UnitOfWork:
    """Base of the services' units of work, which add their repositories with `aggregates` and `entities`."""

    def __init__(self, transaction: Transaction, clock: Clock = utc_now, policy: Policy | None = None) -> None:
        self.transaction = transaction
        self.clock = clock
        self.policy = policy or Policy()
        self._journal = Journal()
        self._attempts = 0
        self._written_before = 0
        self._wrote_directly = 0
        self._repositories: list[Aggregates[Any] | Rows[Any]] = []
        self._by_id_type: dict[Any, Aggregates[Any] | Rows[Any]] = {}
        self._tables: dict[type[Entity], Rows[Any]] = {}
        self.saga_instances = self.entities(SagaInstance, None, SagaNotFound)
        self.sagas = Sagas(self)
        self.kept_answers = self.entities(KeptAnswer, None, NotFound)

    def aggregates(
        self,
        cls: type[A],
        id_type: Any,
        unknown: type[NotFound],
        *,
        on_change: Callable[[A, int], None] | None = None,
    ) -> Aggregates[A]:
        """A repository of event-sourced aggregates. `on_change` gets what has changed and the version before."""
        repository = Aggregates(
            cls,
            self.transaction.events,
            self._journal,
            self.clock,
            unknown=unknown,
            snapshots=SnapshotFormat.of(cls),
            on_change=on_change,
        )
        self._repositories.append(repository)
        self._by_id_type[id_type] = repository
        return repository

    def entities(self, cls: type[R], id_type: Any, unknown: type[NotFound]) -> Rows[R]:
        """Add and return a repository of rows."""
        rows = Rows(cls, self.transaction.rows(cls), self._journal, self.clock, unknown=unknown)
        self._repositories.append(rows)
        self._tables[cls] = rows
        if id_type is not None:
            self._by_id_type[id_type] = rows
        return rows

    def recall_from(self, cache: StateCache) -> None:
        """Look in the cache, before the database, for sagas and for the aggregates that messages name."""
        for repository in (self.saga_instances, *self._by_id_type.values()):
            repository.recall.begin(cache)

    def remember(self) -> None:
        """Put all states into the cache after the commit."""
        for repository in self._repositories:
            repository.remember()

    def close(self) -> None:
        """Clear all that was read and written, after the end of the transaction.

        The remaining objects refer to each other in circles and wait for Python's garbage collector. It counts objects,
        not bytes: hundreds of large states would wait.
        """
        self._journal.close()
        for repository in self._repositories:
            repository.close()

    async def prefetch(self, naming: Iterable[Message | Saga]) -> None:
        """Load the aggregates that messages or sagas name, with one query per repository.

        A field names one if its type is a repository's id type. Raise TooMuchAtOnce when there are several messages and
        their aggregates together are too large for memory.
        """
        together = list(naming)
        wanted: dict[Any, list[str]] = {}
        for each in together:
            for id_type, id_ in ids_named_by(each):
                if id_type in self._by_id_type:
                    wanted.setdefault(id_type, []).append(id_)
        for id_type, ids in wanted.items():
            await self._by_id_type[id_type].load(ids, max_bytes_for(len(together)))

    @contextmanager
    def attempt(self, cause: Cause | None = None) -> Iterator[None]:
        """Keep the changes of the block together: drop them all when it raises.

        `cause` is the message or request that is being handled: its ids go with every event and message of the block.
        Attempts may be nested: when an inner one fails, the objects that the outer one holds are restored too. A
        DomainError becomes AlreadyWritten when a part of the changes has been flushed, as that part cannot be dropped
        alone; any other error rolls the whole transaction back anyway. Raise TooMuchAtOnce when the changes, together
        with those of the attempts before, are too large.
        """
        self.seal()
        outermost = self._attempts == 0
        in_hand = [repository.in_hand() for repository in self._repositories] if outermost else []
        mark, wrote_directly = len(self._journal), self._wrote_directly
        self._attempts += 1
        with handling(cause or current_cause()):
            try:
                yield
                self.seal()
                size = self._size_since(mark)
                if outermost:
                    if self._written_before and self._written_before + size > MAX_WRITTEN_TOGETHER:
                        raise TooMuchAtOnce(f"more than {MAX_WRITTEN_TOGETHER} characters would be sent together")
                    self._written_before += size
            except BaseException as error:
                if self._journal.written <= mark and self._wrote_directly == wrote_directly:
                    self._take_back_to(mark)
                elif isinstance(error, DomainError):
                    raise AlreadyWritten(str(error)) from error
                raise
            finally:
                self._attempts -= 1
                if outermost:
                    for repository, before in zip(self._repositories, in_hand, strict=True):
                        repository.release(before)

    def seal(self) -> None:
        """Journal the changes of aggregates and rows so far: what follows is sent after them."""
        for repository in self._repositories:
            repository.seal()

    def send(self, envelope: Envelope) -> None:
        """Send a message when the transaction is committed."""
        self._journal.append(envelope)

    def claim(self, claim: Claim | KeptReply) -> None:
        """Record that a message was handled."""
        self._journal.append(claim)

    def set_aside(self, change: SetAsideChange) -> None:
        """Record that a message waits, or that it no longer waits."""
        self._journal.append(change)

    def writes_directly(self) -> None:
        """Note that a handler writes to the database itself: from now on its attempt cannot be dropped alone."""
        self._wrote_directly += 1

    async def flush(self) -> None:
        """Write all changes so far. Call this before a query that must see them."""
        await self.hand_over()
        await self.transaction.flush()

    async def hand_over(self) -> None:
        """Pass all changes so far to the stores, grouped by kind.

        First the database confirms the states from the cache: later it would compare them with what was just written.
        """
        self.seal()
        for repository in self._repositories:
            await repository.confirm()
        if entries := self._journal.unwritten():
            await self._write(entries)

    async def _write(self, entries: Sequence[Entry]) -> None:
        recorded = [entry for entry in entries if isinstance(entry, EventRecorded)]
        await self._write_events(recorded)
        changed: dict[type[Entity], list[Entity]] = {}
        for entry in entries:
            if isinstance(entry, RowChanged):
                changed.setdefault(type(entry.row), []).append(entry.row)
        for cls, rows in changed.items():
            await self._tables[cls].write(rows)
        if claims := [entry for entry in entries if isinstance(entry, Claim)]:
            await self.transaction.inbox.add(claims)
        if replies := [entry for entry in entries if isinstance(entry, KeptReply)]:
            await self.transaction.inbox.keep_replies(replies)
        if changes := [entry for entry in entries if isinstance(entry, PutAside | PutBack | TakenUp)]:
            await self.transaction.waiting_room.write(changes)
        sent = (entry.envelope if isinstance(entry, EventRecorded) else entry for entry in entries)
        if messages := [message for message in sent if isinstance(message, Envelope)]:
            await self.transaction.outbox.add(messages)
        self._journal.written = len(self._journal)

    def events(self) -> Sequence[Event]:
        """Return every event recorded in this unit of work."""
        return [entry.event for entry in self._journal.entries() if isinstance(entry, EventRecorded)]

    def sent(self) -> Sequence[Envelope]:
        """Return every command and reply sent in this unit of work."""
        return [entry for entry in self._journal.entries() if isinstance(entry, Envelope)]

    def sets_aside(self) -> bool:
        """Return whether this unit of work has set a message aside."""
        return any(isinstance(entry, PutAside) for entry in self._journal.entries())

    def next_due(self) -> datetime | None:
        """Return when the first message or saga that this unit of work has delayed is due; None if there is none."""
        due = [entry.message.retry_at for entry in self._journal.entries() if isinstance(entry, PutAside | PutBack)]
        due += [
            entry.row.due_at
            for entry in self._journal.entries()
            if isinstance(entry, RowChanged) and isinstance(entry.row, SagaInstance) and entry.row.due_at is not None
        ]
        return min(due, default=None)

    async def _write_events(self, recorded: Sequence[EventRecorded]) -> None:
        if not recorded:
            return
        snapshots: dict[tuple[str, str], Snapshot] = {}
        for entry in recorded:
            if entry.snapshot is not None:
                snapshots[entry.stored.aggregate, entry.stored.id] = entry.snapshot()
        stored: list[StoredEvent] = [entry.stored for entry in recorded]
        await self.transaction.events.append(stored, list(snapshots.values()))
        for entry in recorded:
            if entry.event.erases:
                await self.transaction.events.erase(entry.stored.aggregate, entry.stored.id)

    def _size_since(self, mark: int) -> int:
        """Return how many characters of data are to be sent since that mark; raise MessageTooLarge."""
        size = 0
        for message in self._journal.messages_since(mark):
            if message.is_too_large:
                raise MessageTooLarge
            size += len(message.data)
        return size

    def _take_back_to(self, mark: int) -> None:
        self._journal.back_to(mark)
        for repository in self._repositories:
            repository.reset()


class Units(Generic[U]):
    """Makes units of work on a database, and reports their events after the commit."""

    def __init__(
        self,
        database: Database,
        make: Callable[[Any], U],
        on_commit: Callable[[Sequence[Event]], None] | None = None,
        cache: StateCache | None = None,
    ) -> None:
        """`make` gets a transaction of the database: what it can do beyond `Transaction`, only the adapter knows."""
        self._database = database
        self._make = make
        self._on_commit = on_commit
        self._cache = cache or StateCache()

    @asynccontextmanager
    async def begin(self, *, recalling: bool = False) -> AsyncIterator[U]:
        """Open a unit of work: written and committed when the block ends, rolled back when it raises.

        `recalling` is for callers that try again after a Conflict. Then states from the last such units of work are
        taken from the cache instead of read, and confirmed when the changes are written. If another transaction has
        changed them, that is a Conflict, and the next try reads them.
        """
        unit_of_work: U | None = None
        try:
            async with self._database.transaction() as transaction:
                unit_of_work = self._make(transaction)
                if recalling:
                    unit_of_work.recall_from(self._cache)
                yield unit_of_work
                await unit_of_work.hand_over()
            unit_of_work.remember()
            if self._on_commit is not None:
                self._on_commit(unit_of_work.events())
        finally:
            if unit_of_work is not None:
                unit_of_work.close()

    def on(self, database: Database) -> "Units[U]":
        """Return the same units on another database, such as the one connection of a subscription."""
        return Units(database, self._make, self._on_commit, self._cache)
