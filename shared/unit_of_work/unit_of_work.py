"""The unit of work: all that one transaction changes, kept together until it is written. Handlers never commit.

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
from shared.unit_of_work.aggregates import Repository
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
"""Characters that several messages, or requests, may lead to in one unit of work. One alone may lead to more. In memory
they take some times as much: as events, messages and rows, and once more as they are sent to the database."""


class Transaction(Protocol):
    """What a unit of work needs of a database: memory and PostgreSQL implement it."""

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
        """The table of that class."""

    async def flush(self) -> None:
        """Sends what the stores were given. They may keep it back, and its errors, until they are asked something."""


class Database(Protocol):
    """Where transactions come from: committed when the block ends, rolled back when it raises."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Raises TechnicalFault when the database is away, refuses for lack of something, or finds a deadlock."""


class AlreadyWritten(TechnicalFault):
    """A handler refused after a part of its work had been written: the whole transaction has to go."""


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
        self._repositories: list[Repository[Any] | Rows[Any]] = []
        self._by_id_type: dict[Any, Repository[Any] | Rows[Any]] = {}
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
    ) -> Repository[A]:
        """A repository of event-sourced aggregates. `on_change` gets what has changed and the version before."""
        repository = Repository(
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
        """A repository of rows."""
        rows = Rows(cls, self.transaction.rows(cls), self._journal, self.clock, unknown=unknown)
        self._repositories.append(rows)
        self._tables[cls] = rows
        if id_type is not None:
            self._by_id_type[id_type] = rows
        return rows

    def recall_from(self, cache: StateCache) -> None:
        """What messages name, and sagas, are looked for there before they are read."""
        for repository in (self.saga_instances, *self._by_id_type.values()):
            repository.recall.begin(cache)

    def remember(self) -> None:
        """All this has been committed: what was recalled, read or changed goes where it is recalled from."""
        for repository in self._repositories:
            repository.remember()

    def close(self) -> None:
        """Lets go of all that was read and written, when it is over.

        What is left refers to itself in circles, and waits for Python's garbage collector: that counts objects and not
        their bytes, and would have hundreds of large states wait.
        """
        self._journal.close()
        for repository in self._repositories:
            repository.close()

    async def prefetch(self, naming: Iterable[Message | Saga]) -> None:
        """Loads what they name, one query a repository: each field whose type is a repository's id type.

        Raises TooMuchAtOnce when they are several and what they name can't be held together.
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
        """What the block does is kept together, or dropped when it raises.

        `cause` is what is being handled: its ids go with every event and message that the block leads to. Attempts may
        be nested: what the outer one has in hand is taken back with what the inner one did. Raises AlreadyWritten from
        a DomainError when a part has been flushed, as that can't be dropped alone; any other error takes the whole
        transaction with it anyway. So does TooMuchAtOnce, when this is too much beside what others did before.
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
        """Journals what has happened to aggregates and rows so far: what follows goes out after it."""
        for repository in self._repositories:
            repository.seal()

    def send(self, envelope: Envelope) -> None:
        """A message that goes out when all this is committed."""
        self._journal.append(envelope)

    def claim(self, claim: Claim | KeptReply) -> None:
        """A message has been handled."""
        self._journal.append(claim)

    def set_aside(self, change: SetAsideChange) -> None:
        """A message waits, or no longer."""
        self._journal.append(change)

    def writes_directly(self) -> None:
        """Note that a handler writes to the database itself: from now on its attempt cannot be dropped alone."""
        self._wrote_directly += 1

    async def flush(self) -> None:
        """Writes what has come about so far. Queries that must see it call this first."""
        await self.hand_over()
        await self.transaction.flush()

    async def hand_over(self) -> None:
        """Gives what has come about so far to the stores, each all of its kind. They confirm first what was recalled:
        afterwards they would meet what was written."""
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
        """Every event recorded in it."""
        return [entry.event for entry in self._journal.entries() if isinstance(entry, EventRecorded)]

    def sent(self) -> Sequence[Envelope]:
        """Every command and reply sent in it."""
        return [entry for entry in self._journal.entries() if isinstance(entry, Envelope)]

    def sets_aside(self) -> bool:
        """Whether a message waits because of it."""
        return any(isinstance(entry, PutAside) for entry in self._journal.entries())

    def next_due(self) -> datetime | None:
        """When the first message or saga that waits because of it is due."""
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
        """How many characters of data are to be sent; raises MessageTooLarge."""
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
    """Makes units of work on a database, and says what they committed."""

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
        """A unit of work that is written and committed when the block ends, and rolled back when it raises.

        `recalling` is for those that try again after a Conflict: then states that the last such units left behind are
        not read again, but confirmed with what is written, and it is a Conflict when others have changed them. The next
        try reads them.
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
        """The same on another database, such as the one connection that a subscription works with."""
        return Units(database, self._make, self._on_commit, self._cache)
