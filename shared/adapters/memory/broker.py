"""The broker port in memory, for tests without infrastructure and for systems that run in one process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from shared.messaging.broker import Bounds, BrokerUnavailable, Mark, Publication, subject_of
from shared.messaging.chain import BEGINNING, SentBefore, SentRow, link_header, row_id_of
from shared.messaging.envelope import ROW_ID_HEADER, Received


class MemoryBroker:
    """Implements `broker.Broker` with one stream. Connections end when `disconnect` is called.

    Repeats are dropped by row id, without a time window.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._stored: list[tuple[str, Received]] = []  # the one at position p is at index p - 1
        self._positions: dict[str, int] = {}  # by row id
        self._damaged: set[int] = set()
        self._first = 1
        self.relays_answer = True
        self._outbox: list[tuple[str, Received]] = []
        self._connections: set[MemoryBrokerConnection] = set()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["MemoryBrokerConnection"]:
        connection = MemoryBrokerConnection(self)
        self._connections.add(connection)
        try:
            yield connection
        finally:
            connection.fault = connection.fault or "closed"
            self._connections.discard(connection)

    def disconnect(self) -> None:
        """End all connections, as a restart of the broker would."""
        for connection in self._connections:
            connection.fault = "disconnected"
        self._notify()

    def lose(self, after: int) -> None:
        """Delete all messages behind a position, like a broker that crashed before it wrote them to disk."""
        self.disconnect()
        del self._stored[after:]
        self._damaged = {position for position in self._damaged if position <= after}
        self._positions = {row_id: position for row_id, position in self._positions.items() if position <= after}

    def damage(self, position: int) -> None:
        """Skip a message from now on, like a broker whose disk has changed it: there is no error."""
        self._damaged.add(position)

    def lose_first(self, count: int) -> None:
        """Delete the first messages, like a broker whose first file is lost, or whose messages have expired."""
        self._first = count + 1

    def forget(self, row_id: str) -> None:
        """Delete a row, and those before it, from the outbox: the sender can no longer send them again."""
        first = next(index for index, (_, message) in enumerate(self._outbox) if message.row_id == row_id)
        del self._outbox[: first + 1]

    def bounds(self) -> Bounds:
        return Bounds(self._first, len(self._stored))

    def message_at(self, position: int) -> Mark | None:
        stored = self.stored_at(position)
        return stored and Mark(position, stored[1].row_id, stored[1].received_at)

    def store(self, publication: Publication, *, again: bool = False) -> int:
        """Append a message, or find the one that it repeats, and return its position.

        `again` also stores a repeat, like a broker whose window for repeats has passed.
        """
        known = self._positions.get(publication.row_id)
        if known is not None and not again:
            return known
        position = len(self._stored) + 1
        message = Received(
            position=position,
            row_id=publication.row_id,
            received_at=self._clock(),
            headers={ROW_ID_HEADER: publication.row_id, **publication.headers},
            data=publication.data,
        )
        self._stored.append((publication.subject, message))
        self._outbox.append((publication.subject, message))
        self._positions.setdefault(publication.row_id, position)
        self._notify()
        return position

    def stored_at(self, position: int) -> tuple[str, Received] | None:
        """Return the subject and message at a position, or None."""
        if not self._first <= position <= len(self._stored) or position in self._damaged:
            return None
        return self._stored[position - 1]

    def last_position(self) -> int:
        """Return the position of the last message, damaged or not."""
        return len(self._stored)

    def sent_before(self, sender: str, reader: str, partition: int, row: int | None) -> SentBefore:
        """Return what was sent, as `broker.LogReader` does.

        A message was sent to the readers that it has links for, and is kept until `forget`.
        """
        sent: list[Received] = []
        for subject, message in self._outbox:
            of_sender = message.row_id.startswith(f"{sender}-") and link_header(reader) in message.headers
            if of_sender and subject.startswith(subject_of(partition, "")):
                sent.append(message)
        ids = [message.row_id for message in sent]
        if row is not None:
            if row_id_of(sender, row) not in ids:
                return SentBefore(rows=(SentRow(row=row, message_id=""),), kept=False)
            last = len(ids) - 1 - ids[::-1].index(row_id_of(sender, row))
            sent = sent[: last + 1]
        rows = [
            SentRow(row=int(message.row_id.removeprefix(f"{sender}-")), message_id=message.headers["ce-id"])
            for message in reversed(sent)
        ]
        if row is None:
            return SentBefore(rows=tuple(rows[:1]), more=True)
        begins = not sent or sent[0].headers[link_header(reader)] == BEGINNING
        return SentBefore(rows=tuple(rows), kept=begins)

    def sent_again(self, sender: str, rows: Sequence[int]) -> list[Received | None]:
        kept = {message.row_id: replace(message, position=0, subject=None) for _, message in self._outbox}
        return [kept.get(row_id_of(sender, row)) for row in rows]

    def subjects_behind(self, position: int) -> list[str]:
        """Return the subjects of all messages behind a position."""
        return [subject for subject, _ in self._stored[position:]]

    async def changed(self) -> None:
        """Wait for the next message or disconnect."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class MemoryBrokerConnection:
    """Implements `broker.BrokerConnection` on a memory broker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.fault: str | None = None

    async def bounds(self) -> Bounds:
        self.check()
        return self._broker.bounds()

    async def message_at(self, position: int) -> Mark | None:
        self.check()
        return self._broker.message_at(position)

    @asynccontextmanager
    async def read(
        self, partition: int, *, after: int, filters: Sequence[str], to_end: bool = False
    ) -> AsyncIterator["MemoryFeed"]:
        self.check()
        subjects = frozenset(subject_of(partition, route) for route in filters)
        yield MemoryFeed(self._broker, self, after, subjects, self._broker.last_position() if to_end else None)

    async def sent_before(self, sender: str, reader: str, partition: int, row: int | None) -> SentBefore:
        self._ask(sender)
        return self._broker.sent_before(sender, reader, partition, row)

    async def sent_again(self, sender: str, reader: str, rows: Sequence[int]) -> list[Received | None]:
        self._ask(sender)
        return self._broker.sent_again(sender, rows)

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        self.check()
        return [self._broker.store(message) for message in messages]

    def _ask(self, sender: str) -> None:
        self.check()
        if not self._broker.relays_answer:
            raise BrokerUnavailable(f"the relay of the service {sender} does not say what it has sent")

    def check(self) -> None:
        """Raise BrokerUnavailable when the connection has ended."""
        if self.fault is not None:
            raise BrokerUnavailable(self.fault)


class MemoryFeed:
    """Implements `broker.Feed` on a memory broker."""

    def __init__(
        self,
        broker: MemoryBroker,
        connection: MemoryBrokerConnection,
        after: int,
        subjects: frozenset[str],
        end: int | None,
    ) -> None:
        self._broker = broker
        self._end = end
        self._connection = connection
        self._position = after
        self._subjects = subjects
        self.pending = sum(subject in subjects for subject in broker.subjects_behind(after))

    async def take(self, limit: int, wait: float) -> list[Received]:
        until = asyncio.get_running_loop().time() + wait
        while True:
            self._connection.check()
            if (taken := self._queued(limit)) or self._end is not None:
                return taken
            try:
                async with asyncio.timeout_at(until):
                    await self._broker.changed()
            except TimeoutError:
                self._connection.check()
                return []

    def _queued(self, limit: int) -> list[Received]:
        taken: list[Received] = []
        end = self._broker.last_position() if self._end is None else self._end
        while len(taken) < limit and self._position < end:
            self._position += 1
            stored = self._broker.stored_at(self._position)
            if stored is not None and stored[0] in self._subjects:
                taken.append(stored[1])
        return taken
