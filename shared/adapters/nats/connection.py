"""One connection to NATS, for as long as it lasts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from nats.aio.client import Client
from nats.errors import Error
from nats.js.manager import JetStreamManager

from shared.messaging.broker import BrokerUnavailable

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 5.0
CLOSE_SECONDS = 2.0

UNLIMITED = -1
"""For subscriptions whose senders are bounded by our own requests: nats-py drops what is beyond its limits."""


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Where NATS is and who we are."""

    url: str
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class NatsConnection:
    """A connected client. `lost` is done, with the reason, as soon as the connection is closed, by whomever."""

    client: Client
    jetstream: JetStreamManager
    lost: asyncio.Future[str]


@asynccontextmanager
async def connect(address: NatsAddress) -> AsyncIterator[NatsConnection]:
    """Connect once. Never reconnects: nats-py's buffered reconnect breaks the order of pipelined messages."""
    client = Client()
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def closed() -> None:
        if not lost.done():
            lost.set_result(str(client.last_error or "the connection was closed"))

    async def ignore(_: Exception) -> None:
        """What matters also closes the connection, or is seen by a time-out."""

    try:
        with broker_faults():
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect(
                    address.url,
                    user=address.user,
                    password=address.password,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,  # of the first connect: 0 would be "for ever"
                    reconnect_time_wait=0,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    closed_cb=closed,
                    error_cb=ignore,
                )
        yield NatsConnection(client, client.jsm(timeout=REQUEST_SECONDS), lost)
    finally:
        # Closing flushes what is pending first, which a server that no longer reads could hold up for ever.
        with broker_faults_ignored():
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.close()


@contextmanager
def broker_faults() -> Iterator[None]:
    """Raise what nats-py raises as BrokerUnavailable."""
    try:
        yield
    except (Error, OSError, TimeoutError) as fault:
        raise BrokerUnavailable(str(fault) or type(fault).__name__) from fault


@contextmanager
def broker_faults_ignored() -> Iterator[None]:
    """For cleaning up behind a connection that may be gone."""
    try:
        yield
    except (Error, OSError, TimeoutError):
        return
