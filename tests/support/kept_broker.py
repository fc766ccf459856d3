"""A broker whose every connection brings a keeper of the stream with it, as a relay process or a container does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.adapters.nats.broker import NatsBroker, NatsBrokerConnection
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.keeper import Keeper
from shared.adapters.nats.stream import StreamLimits


class KeptBroker:
    """A NATS without users, with the stream as the limits say."""

    def __init__(self, address: NatsAddress, partitions: int, limits: StreamLimits) -> None:
        self._address = address
        self._partitions = partitions
        self._limits = limits

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[NatsBrokerConnection]:
        """Keep the stream as long as the connection lasts."""
        keeper = Keeper(self._address, self._partitions, self._limits, reads={})
        async with keeper.keeping(), NatsBroker(self._address, self._partitions).connect() as connection:
            yield connection
