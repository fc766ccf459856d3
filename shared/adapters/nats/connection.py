"""One connection to NATS. When it is lost it is not opened again: its user makes a new one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, Error
from nats.js.manager import JetStreamManager

from shared.adapters.nats.names import NatsNames
from shared.core.application import Application
from shared.messaging.broker import BrokerUnavailable

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 5.0
CLOSE_SECONDS = 2.0

ANYBODY = "anybody"
"""The user's name where NATS asks for none."""
UNLIMITED = -1
"""No limit on pending messages: nats-py drops what is beyond a limit, and here our own requests limit what comes."""


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Where NATS is and who we are: one user of one application, of several that may share the server.

    With `ca_file`, the file of a certificate authority, NATS is spoken to over TLS only.
    """

    url: str
    application: Application
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def tls(self) -> dict[str, Any]:
        """Return the client's options for TLS; none where it is not used. Raises BrokerUnavailable."""
        if self.ca_file is None:
            return {}
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise BrokerUnavailable(f"the authority in {self.ca_file} can't be read: {error}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # TLS comes first. Otherwise somebody in between could claim that this server has none.
        return {"tls": context, "tls_handshake_first": True}


class PlainClient(Client):
    """nats-py's client with a plain parser of headers: nats-py's own takes longer than all else done per message.

    Our messages have some fourteen headers, with names that are known, and we write and read them ourselves. Requests
    end as soon as the connection is lost: nats-py lets them wait for their time-out.
    """

    def __init__(self, lost: asyncio.Future[str], names: NatsNames) -> None:
        super().__init__()
        self._lost = lost
        self._names = names

    async def request(self, *arguments: Any, **options: Any) -> Msg:
        """Send a request and return its answer. Raises ConnectionClosedError as soon as no answer can come any more."""
        asking = asyncio.ensure_future(super().request(*arguments, **options))
        try:
            await asyncio.wait((asking, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ConnectionClosedError
            return asking.result()
        finally:
            asking.cancel()
            # If it was cancelled while its answer came, nobody reads its result, and asyncio would log a complaint.
            asking.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def send(self, frames: bytes) -> None:
        """Send frames of the protocol, after what was sent before. Raises ConnectionClosedError."""
        if not self.is_connected:
            raise ConnectionClosedError
        await self._send_command(frames)
        await self._flush_pending()

    def _parse_header_lines(self, raw: bytes) -> dict[str, str]:  # type: ignore[override]  # a static one there
        raw = self._names.headers_from_wire(raw)
        try:
            return dict(line.split(": ", 1) for line in raw.decode().removesuffix("\r\n\r\n").split("\r\n"))
        except ValueError:  # written by others: with other spaces, or not in UTF-8
            return Client._parse_header_lines(raw)


@dataclass(frozen=True, slots=True)
class NatsConnection:
    """A connected client. `lost` is done, with the reason, as soon as either side has closed the connection."""

    user: str
    names: NatsNames
    client: PlainClient
    jetstream: JetStreamManager
    lost: asyncio.Future[str]


@asynccontextmanager
async def connect(address: NatsAddress) -> AsyncIterator[NatsConnection]:
    """Connect once. Never reconnects: nats-py's buffered reconnect breaks the order of pipelined messages."""
    tls = address.tls()
    user = address.user or ANYBODY
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    names = NatsNames(address.application)
    client = PlainClient(lost, names)

    async def closed() -> None:
        if not lost.done():
            lost.set_result(str(client.last_error or "the connection was closed"))

    async def told(error: Exception) -> None:
        """Log why NATS refuses something: who asked sees a time-out only. Give up the connection when one of our own
        callbacks has raised: the message was not handled, and nobody else would notice."""
        if "permissions violation" in str(error).lower():
            log.error("NATS has refused a subject: the user has no permission", user=user, reason=str(error))
        elif not isinstance(error, Error | OSError):
            log.error("handling a message from NATS has failed: the connection is closed", user=user, exc_info=error)
            if not lost.done():
                lost.set_result(f"a message was not handled: {error!r}")

    try:
        with broker_faults(), unswallowed_cancellation():
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect(
                    address.url,
                    user=address.user,
                    password=address.password,
                    # Permissions keep other users from subscribing to what is sent to this one.
                    inbox_prefix=f"_INBOX.{user}",
                    **tls,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,  # of the first connect: 0 would be "for ever"
                    reconnect_time_wait=0,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    closed_cb=closed,
                    error_cb=told,
                )
        yield NatsConnection(user, names, client, client.jsm(timeout=REQUEST_SECONDS), lost)
    finally:
        # Closing flushes what is pending, which never ends when the server no longer reads.
        with broker_faults_ignored(), unswallowed_cancellation():
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.close()


@contextmanager
def broker_faults() -> Iterator[None]:
    """Raise BrokerUnavailable instead of what nats-py raises."""
    try:
        yield
    except (Error, OSError, TimeoutError) as fault:
        raise BrokerUnavailable(str(fault) or type(fault).__name__) from fault


@contextmanager
def broker_faults_ignored() -> Iterator[None]:
    """Ignore faults of the connection: for cleaning up when it may be gone already."""
    try:
        yield
    except (Error, OSError, TimeoutError):
        return


@contextmanager
def unswallowed_cancellation() -> Iterator[None]:
    """Raise CancelledError at the end of the block if the task was cancelled meanwhile and nats-py has swallowed that.

    Before Python 3.12 asyncio.wait_for, which nats-py uses, does so when what it waits for is done at the same moment.
    nats-py does so itself when it flushes.
    """
    task = asyncio.current_task()
    assert task is not None, "only a task can wait"
    before = task.cancelling()
    yield
    if task.cancelling() > before:
        raise asyncio.CancelledError
