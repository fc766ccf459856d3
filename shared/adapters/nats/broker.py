"""The broker on NATS JetStream."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from shared.adapters.nats import keeper_client, reader, sent, stream
from shared.adapters.nats.connection import NatsAddress, NatsConnection, connect
from shared.adapters.nats.publisher import NatsPublisher, open_publisher
from shared.messaging.broker import Bounds, BrokerUnavailable, Mark, Publication, subject_of
from shared.messaging.chain import RowsRequest, SentBefore, SentRequest
from shared.messaging.envelope import MAX_PAYLOAD, Received

_SHARES = 8
"""One relay fills at most this fraction (1/8) of the free room between two looks: there are fewer relays than that."""
_AMPLE = 64 << 20
"""Free bytes that are enough for `_LOOK_SECONDS`, at whatever speed relays publish."""
_LOOK_SECONDS = 1.0


class _Room:
    """Decides how many messages may be on their way at the same time.

    A full stream refuses a large message and still takes a small one that was sent later, which must not overtake it.
    So only as many are sent together as fit for certain. When little room is left, messages are sent one by one.
    """

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._share = 0.0
        self._good_until = 0.0

    async def first_of(self, messages: Sequence[Publication]) -> int:
        """Return how many of these messages may be sent now: at least one."""
        now = time.monotonic()
        if now >= self._good_until:
            free = await stream.free_bytes(self._connection)
            self._share = free / _SHARES
            self._good_until = now + _LOOK_SECONDS if free > _AMPLE else now
        for count, message in enumerate(messages):
            self._share -= _max_bytes(message)
            if self._share < 0:
                self._good_until = now
                return max(count, 1)
        return len(messages)


class NatsBrokerConnection:
    """One connection to the stream: reads it, publishes to it, and asks relays what they have sent."""

    def __init__(self, connection: NatsConnection, publisher: NatsPublisher) -> None:
        self._connection = connection
        self._publisher = publisher
        self._room = _Room(connection)

    async def bounds(self) -> Bounds:
        """Return the positions of the first and the last message in the stream. Raises BrokerUnavailable."""
        return await stream.stream_bounds(self._connection)

    async def message_at(self, position: int) -> Mark | None:
        """Return what identifies the message at a position, None if there is none. Raises BrokerUnavailable."""
        return await keeper_client.mark_at(self._connection, position)

    def read(
        self, partition: int, *, after: int, filters: Sequence[str], to_end: bool = False
    ) -> AbstractAsyncContextManager[reader.NatsFeed]:
        """Read the messages of a partition behind `after` that are on one of these routes, in their order.

        With `to_end` the feed ends with what is there now. Taking from it raises BrokerUnavailable.
        """
        subjects = [subject_of(partition, route) for route in filters]
        names = self._connection.names.log
        return reader.read(self._connection, names, after, subjects, keeper_client.open_reader, to_end=to_end)

    async def sent_before(self, sender: str, reader: str, partition: int, row: int | None) -> SentBefore:
        """Ask a sender's relay what it has published for a reader, up to a row of its outbox, that row included.

        Without a row: only which one was the last. Raises BrokerUnavailable.
        """
        return await sent.ask_before(self._connection, sender, SentRequest(reader=reader, partition=partition, row=row))

    async def sent_again(self, sender: str, reader: str, rows: Sequence[int]) -> list[Received | None]:
        """Get messages from a sender's outbox, in this order; None for those that it no longer keeps.

        Raises BrokerUnavailable.
        """
        return await sent.ask_again(self._connection, sender, RowsRequest(reader=reader, rows=tuple(rows)))

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        """Store messages in this order; return the position of each, None for what is never accepted.

        Raises BrokerUnavailable when an acknowledgement is missing: then any of them may be stored or not.
        """
        waiting = messages
        positions: list[int | None] = []
        while len(waiting) > 1:
            count = await self._room.first_of(waiting)
            positions += await self._publisher.publish(waiting[:count])
            waiting = waiting[count:]
        return positions + await self._publisher.publish(waiting)


def _max_bytes(message: Publication) -> int:
    """Return an upper limit of the bytes that a message takes in the stream."""
    headers = sum(map(len, message.headers)) + sum(map(len, message.headers.values()))
    return 1000 + 4 * (len(message.data) + headers)


class NatsBroker:
    """Opens connections to the stream of an application. A `Keeper` of the stream must run, in any process."""

    def __init__(self, address: NatsAddress, partitions: int = 1) -> None:
        self._address = address
        self._partitions = partitions

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[NatsBrokerConnection]:
        """Open a connection. Raises BrokerUnavailable, and PartitionsDiffer where the stream has another count."""
        async with connect(self._address) as connection:
            if connection.client.max_payload < MAX_PAYLOAD:
                raise BrokerUnavailable(
                    f"its max_payload is {connection.client.max_payload} bytes, and messages may have {MAX_PAYLOAD}"
                )
            await stream.check_stream(connection, self._partitions)
            async with open_publisher(connection, connection.names.log) as publisher:
                yield NatsBrokerConnection(connection, publisher)
