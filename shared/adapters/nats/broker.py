"""The broker port over NATS JetStream."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from shared.adapters.nats import keeper, reader, stream
from shared.adapters.nats.connection import NatsAddress, NatsConnection, connect
from shared.adapters.nats.publisher import NatsPublisher, open_publisher
from shared.messaging.broker import Bounds, BrokerUnavailable, Mark, Publication, subject_of
from shared.messaging.envelope import MAX_PAYLOAD


class NatsBrokerConnection:
    """See `broker.BrokerConnection`."""

    def __init__(self, connection: NatsConnection, publisher: NatsPublisher) -> None:
        self._connection = connection
        self._publisher = publisher

    async def bounds(self) -> Bounds:
        """See `broker.LogReader`."""
        return await stream.stream_bounds(self._connection.jetstream)

    async def message_at(self, position: int) -> Mark | None:
        """See `broker.LogReader`."""
        return await keeper.mark_at(self._connection, position)

    def read(
        self, partition: int, *, after: int, filters: Sequence[str]
    ) -> AbstractAsyncContextManager[reader.NatsFeed]:
        """See `broker.LogReader`."""
        subjects = [subject_of(partition, route) for route in filters]
        return reader.read(self._connection, after, subjects, make=keeper.open_reader)

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        """See `broker.Publisher`."""
        return await self._publisher.publish(messages)


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
            await stream.check_stream(connection.jetstream, self._partitions)
            async with open_publisher(connection) as publisher:
                yield NatsBrokerConnection(connection, publisher)
