"""PostgreSQL's write-ahead log as a stream of outbox rows, through psycopg2's replication connection.

It relies on two things that psycopg2 does by itself (2.9, `pq_read_replication_message`). It answers keepalives that
ask for an answer as soon as they are read. And while everything received is confirmed, a keepalive moves the confirmed
position to the server's: so an idle slot advances and never keeps log from being removed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import psycopg2
from psycopg2 import errors
from psycopg2.extras import LogicalReplicationConnection, ReplicationCursor

from shared.core.errors import TechnicalFault
from shared.relay.pgoutput import PUBLICATION, Committed, Decoder, OutboxRow, parse_lsn

BUFFER_ROWS = 5000
"""Maximum of rows read ahead. More than that waits in PostgreSQL."""
BUFFER_CHARACTERS = 8 << 20
CONNECT_SECONDS = 5
NETWORK_TIMEOUT_SECONDS = 30

REPORT_SECONDS = 2
"""Seconds between two reports. A slot without rows of its own advances by the answer to the report before; until then
PostgreSQL keeps the log, of which a busy server writes 10 MB a second."""

T = TypeVar("T")

_FAR = 1 << 62
"""The written position that is reported: far ahead. It matters to synchronous standbys only. With a true one,
PostgreSQL would send the end of the log after every commit in any database (`WalSndWaitForWal`), and wake every relay
of the server. The end of the log comes with the answer to each report."""


class DatabaseUnavailable(TechnicalFault):
    """PostgreSQL can't be reached, or doesn't have what the relay needs yet: try again later."""


class SlotInUse(DatabaseUnavailable):
    """Another relay has the slot."""


class SlotLost(DatabaseUnavailable):
    """There is no such slot, or the server has removed log that it needs."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state that a new slot begins behind. `name` can be imported until its connection runs another command."""

    name: str
    lsn: int


@dataclass(slots=True)
class ReplicationConnection:
    """A connection that can make slots and stream from them. It reports every `status_seconds`."""

    connection: LogicalReplicationConnection
    status_seconds: int

    async def temporary_slot(self, name: str) -> Snapshot:
        """Make a slot that ends with this connection. Raises SlotInUse when another connection has one of that name.

        Waits until all transactions that are open now have ended.
        """
        with self.connection.cursor() as cursor:
            await self._run(
                lambda: cursor.execute(f"CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')")
            )
            slot = cursor.fetchone()
        assert slot is not None
        _, lsn, snapshot, _ = slot
        return Snapshot(snapshot, parse_lsn(lsn))

    @asynccontextmanager
    async def stream(self, slot: str) -> AsyncIterator["LogStream"]:
        """Stream the slot's rows from its confirmed position on. Raises SlotInUse or SlotLost."""
        cursor: ReplicationCursor = self.connection.cursor()
        await self._run(
            lambda: cursor.start_replication(
                slot_name=slot,
                options={"proto_version": "1", "publication_names": PUBLICATION},
                status_interval=2 * self.status_seconds,  # psycopg2's own reports, in case these fail to come
                decode=False,
            )
        )
        stream = LogStream(self.connection, cursor, self.status_seconds)
        stream.open()
        try:
            yield stream
        finally:
            stream.close()

    async def _run(self, call: Callable[[], T]) -> T:
        """Run a blocking call in a thread; when this is cancelled, cancel the call on the server too."""
        task = asyncio.ensure_future(asyncio.to_thread(call))
        try:
            with database_faults():
                return await asyncio.shield(task)
        except asyncio.CancelledError:
            with suppress(psycopg2.Error):
                await asyncio.to_thread(self.connection.cancel)
                await task
            raise


@asynccontextmanager
async def connect(url: str, wal_sender_timeout: float) -> AsyncIterator[ReplicationConnection]:
    """Connect. PostgreSQL ends the connection after `wal_sender_timeout` seconds without a report."""

    def open_connection() -> LogicalReplicationConnection:
        return psycopg2.connect(
            url,
            connection_factory=LogicalReplicationConnection,
            connect_timeout=CONNECT_SECONDS,
            tcp_user_timeout=NETWORK_TIMEOUT_SECONDS * 1000,
            client_encoding="UTF8",
            options=f"-c wal_sender_timeout={int(wal_sender_timeout * 1000)}",
        )

    # Not cancelled half-way: the connection that the thread opens would stay open.
    opening = asyncio.ensure_future(asyncio.to_thread(open_connection))
    try:
        with database_faults():
            connection = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unused)
        raise
    try:
        # psycopg2 sends reports no more often than once a second.
        yield ReplicationConnection(connection, max(1, min(REPORT_SECONDS, int(wal_sender_timeout / 6))))
    finally:
        connection.close()


class LogStream:
    """Rows and commits as they arrive. It reads ahead up to a limit, and reports even while it doesn't read."""

    def __init__(
        self, connection: LogicalReplicationConnection, cursor: ReplicationCursor, status_seconds: int
    ) -> None:
        self._socket = connection.fileno()
        self._cursor = cursor
        self._status_seconds = status_seconds
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder()
        self._items: deque[OutboxRow | Committed] = deque()
        self._characters = 0
        self._changed = asyncio.Event()
        self._fault: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False

    def open(self) -> None:
        """Begin to read and report."""
        self._resume()
        self._report()

    def close(self) -> None:
        """Stop reading and reporting. The slot is free when its connection is closed."""
        self._pause()
        if self._timer is not None:
            self._timer.cancel()

    async def take(self, limit: int, wait: float) -> list[OutboxRow | Committed]:
        """Return up to `limit` items; wait up to `wait` seconds for the first. Raises DatabaseUnavailable."""
        if not self._items and self._fault is None:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
        if self._fault is not None:
            raise self._fault
        taken = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
        self._characters -= sum(map(_size, taken))
        if not self._reading and not self._full:
            self._resume()
        return taken

    def confirm(self, lsn: int) -> None:
        """Tell PostgreSQL that everything before `lsn` need not be sent again. Raises DatabaseUnavailable."""
        with database_faults():
            self._cursor.send_feedback(_FAR, lsn, force=True)  # type: ignore[no-untyped-call]

    @property
    def empty(self) -> bool:
        """Whether everything that has arrived has been taken."""
        return not self._items

    @property
    def _full(self) -> bool:
        return len(self._items) >= BUFFER_ROWS or self._characters >= BUFFER_CHARACTERS

    def _resume(self) -> None:
        self._reading = True
        self._loop.add_reader(self._socket, self._read)
        self._read()  # libpq may have buffered messages, for which the socket does not become readable again

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket)

    def _read(self) -> None:
        try:
            with database_faults():
                while not self._full and (message := self._cursor.read_message()):
                    item = self._decoder.decode(message.payload)
                    if item is not None:
                        self._items.append(item)
                        self._characters += _size(item)
        except Exception as fault:  # the event loop would only log it, and rows would be missing
            self._fail(fault)
        if self._full:
            self._pause()
        if self._items:
            self._changed.set()

    def _report(self) -> None:
        try:
            with database_faults():
                self._cursor.send_feedback(_FAR, reply=True, force=True)  # type: ignore[no-untyped-call]
        except Exception as fault:
            self._fail(fault)
        else:
            self._timer = self._loop.call_later(self._status_seconds, self._report)

    def _fail(self, fault: Exception) -> None:
        self._fault = fault
        self._pause()
        self._changed.set()


@contextmanager
def database_faults() -> Iterator[None]:
    """Raise DatabaseUnavailable, or a subclass, instead of what psycopg2 raises."""
    try:
        yield
    except (errors.ObjectInUse, errors.DuplicateObject) as fault:
        raise SlotInUse(_first_line(fault)) from fault
    except (errors.UndefinedObject, errors.ObjectNotInPrerequisiteState) as fault:
        raise SlotLost(_first_line(fault)) from fault
    except psycopg2.Error as fault:
        raise DatabaseUnavailable(_first_line(fault)) from fault


def _first_line(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0]


def _size(item: OutboxRow | Committed) -> int:
    return len(item.data) + len(item.headers) if isinstance(item, OutboxRow) else 0


def _close_unused(opening: "asyncio.Future[LogicalReplicationConnection]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
