"""The messages that were sent, read from the stream by time: for people who want to know what happened."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Protocol

from shared.adapters.nats.connection import NatsAddress, NatsConnection, connect
from shared.adapters.nats.reader import read
from shared.adapters.nats.stream import stored_message, stream_bounds
from shared.messaging.broker import BrokerUnavailable
from shared.messaging.envelope import Envelope, Received

SUBJECTS = tuple(f"*.{kind}.>" for kind in ("event", "command", "reply"))
"""The subjects of all partitions, without the replays for rebuilding read models."""
CLOCKS_DIFFER = timedelta(seconds=5)
"""How far the clocks of services and broker may be apart."""
EVER_SINCE = datetime(1970, 1, 1, tzinfo=UTC)

_BATCH = 400


class MessageLog(Protocol):
    """A log from which messages can be read again."""

    def since(self, moment: datetime) -> AsyncGenerator[Envelope]:
        """The messages sent since that moment until now. Raises BrokerUnavailable."""
        ...

    def follow(self, moment: datetime) -> AsyncGenerator[Envelope]:
        """The messages sent since that moment, then all new ones, without end. Continues when the broker was away."""
        ...


class NatsLog:
    """The messages in a JetStream stream."""

    def __init__(self, address: NatsAddress) -> None:
        """Set the address of NATS; each reading makes a connection of its own."""
        self._address = address

    async def since(self, moment: datetime) -> AsyncGenerator[Envelope]:
        """The messages sent since that moment until now. Raises BrokerUnavailable."""
        async with connect(self._address) as connection:
            after = await position_before(connection, moment - CLOCKS_DIFFER)
            async with read(connection, connection.names.log, after, SUBJECTS, to_end=True) as feed:
                while batch := await feed.take(_BATCH, wait=5):
                    for received in batch:
                        if envelope := _envelope(received):
                            yield envelope

    async def follow(self, moment: datetime) -> AsyncGenerator[Envelope]:
        """The messages sent since that moment, then all new ones, without end. Continues when the broker was away."""
        after: int | None = None
        while True:
            try:
                async with connect(self._address) as connection:
                    if after is None:
                        after = await position_before(connection, moment)
                    async with read(connection, connection.names.log, after, SUBJECTS) as feed:
                        while True:
                            for received in await feed.take(_BATCH, wait=5):
                                after = received.position
                                if envelope := _envelope(received):
                                    yield envelope
            except BrokerUnavailable:
                await asyncio.sleep(0.5)


async def position_before(connection: NatsConnection, moment: datetime) -> int:
    """Return the position of the last message stored before that moment, by bisection."""
    bounds = await stream_bounds(connection)
    low, high = bounds.first, bounds.last + 1
    while low < high:
        middle = (low + high) // 2
        mark = await stored_message(connection, middle)
        # Where nothing is stored any more, go back: that can't miss anything.
        if mark is not None and mark.at < moment:
            low = middle + 1
        else:
            high = middle
    return low - 1


def _envelope(received: Received) -> Envelope | None:
    try:
        return Envelope.from_headers(received.headers, received.data)
    except ValueError:  # not a message of this system: whoever subscribes to it parks it
        return None
