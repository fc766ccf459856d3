"""The broker port over NATS JetStream."""

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
"""What is left of a stream's room is used by so many at most: more than there are relays."""
_AMPLE = 64 << 20
"""Bytes of room that last for as long as a look at them is good."""
_LOOK_SECONDS = 1.0


class _Room:
    """How many messages may be on their way together.

    A full stream refuses a large message and still takes a small one behind it, which must not overtake it. So what is
    on its way together always fits, and the end of a stream is filled one message at a time.
    """

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._share = 0.0
        self._good_until = 0.0

    async def first_of(self, messages: Sequence[Publication]) -> int:
        """How many of them may be sent now, at least one."""
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
    """See `broker.BrokerConnection`."""

    def __init__(self, connection: NatsConnection, publisher: NatsPublisher) -> None:
        self._connection = connection
        self._publisher = publisher
        self._room = _Room(connection)

    async def bounds(self) -> Bounds:
        """See `broker.LogReader`."""
        return await stream.stream_bounds(self._connection)

    async def message_at(self, position: int) -> Mark | None:
        """See `broker.LogReader`."""
        return await keeper_client.mark_at(self._connection, position)

    def read(
        self, partition: int, *, after: int, filters: Sequence[str], to_end: bool = False
    ) -> AbstractAsyncContextManager[reader.NatsFeed]:
        """See `broker.LogReader`."""
        subjects = [subject_of(partition, route) for route in filters]
        names = self._connection.names.log
        return reader.read(self._connection, names, after, subjects, keeper_client.open_reader, to_end=to_end)

    async def sent_before(self, sender: str, reader: str, partition: int, row: int | None) -> SentBefore:
        """See `broker.LogReader`."""
        return await sent.ask_before(self._connection, sender, SentRequest(reader=reader, partition=partition, row=row))

    async def sent_again(self, sender: str, reader: str, rows: Sequence[int]) -> list[Received | None]:
        """See `broker.LogReader`."""
        return await sent.ask_again(self._connection, sender, RowsRequest(reader=reader, rows=tuple(rows)))

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        """See `broker.Publisher`."""
        waiting = messages
        positions: list[int | None] = []
        while len(waiting) > 1:
            count = await self._room.first_of(waiting)
            positions += await self._publisher.publish(waiting[:count])
            waiting = waiting[count:]
        return positions + await self._publisher.publish(waiting)


def _max_bytes(message: Publication) -> int:
    """No less than it takes in the stream."""
    headers = sum(map(len, message.headers)) + sum(map(len, message.headers.values()))
    return 1000 + 4 * (len(message.data) + headers)


class NatsBroker:
    """See `broker.Broker`. It needs a `Keeper` of the stream, in whatever process."""

    def __init__(self, address: NatsAddress, partitions: int) -> None:
        self._address = address
        self._partitions = partitions

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[NatsBrokerConnection]:
        """See `broker.Broker`."""
        async with connect(self._address) as connection:
            if connection.client.max_payload < MAX_PAYLOAD:
                raise BrokerUnavailable(
                    f"its max_payload is {connection.client.max_payload} bytes, and messages may have {MAX_PAYLOAD}"
                )
            await stream.check_stream(connection, self._partitions)
            async with open_publisher(connection, connection.names.log) as publisher:
                yield NatsBrokerConnection(connection, publisher)
