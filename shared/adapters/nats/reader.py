"""Reads a stream as a log, through an ephemeral consumer without acknowledgements.

Requests to the consumer overlap: while the server answers one, the next is on its way. Together they never ask for more
than a window. nats-py's own `fetch()` takes four times as long, and its ordered consumer does not come back after a
restart of the server.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from shared.adapters.nats.connection import UNLIMITED, NatsConnection, broker_faults, broker_faults_ignored
from shared.adapters.nats.names import StreamNames
from shared.adapters.nats.stream import row_id
from shared.messaging.broker import BrokerUnavailable
from shared.messaging.envelope import Received

WINDOW = 400
"""Maximum of messages that are asked for or wait here."""
WINDOW_BYTES = 16 << 20
"""Bytes that one request may bring. While half as many wait here, nothing more is asked for."""
HEARTBEAT_SECONDS = 3.0
MISSED_HEARTBEATS = 3
REQUEST_EXPIRES_SECONDS = 30.0
ABANDONED_SECONDS = 60.0
"""How long the server keeps a consumer without requests: longer than handling any batch takes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SERVED = frozenset({"404", "408"})  # no messages; expired: the rest of a request will not be served
_SERVED_409 = frozenset({"Batch Completed", "Message Size Exceeds MaxBytes"})  # 409 can mean worse


@dataclass(frozen=True, slots=True)
class Consumer:
    """A JetStream consumer, and how many messages wait for it."""

    name: str
    pending: int


MakeConsumer = Callable[[NatsConnection, str, int, Sequence[str]], Awaitable[Consumer]]
"""Makes a consumer of a stream, behind a position, for these subjects as NATS knows them."""


async def make_consumer(
    connection: NatsConnection, stream: str, after: int, filters: Sequence[str], name: str | None = None
) -> Consumer:
    """Make a consumer with this connection's own rights. Raises BrokerUnavailable."""
    with broker_faults():
        made = await connection.jetstream.add_consumer(
            stream,
            ConsumerConfig(
                name=name,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=after + 1,
                ack_policy=AckPolicy.NONE,
                filter_subjects=list(filters),
                mem_storage=True,
                num_replicas=1,
                inactive_threshold=ABANDONED_SECONDS,
            ),
        )
    return Consumer(made.name, made.num_pending or 0)


class NatsFeed:
    """The messages of one consumer, in order, each once: anything else is a fault.

    With `to_end` it asks for what there is and doesn't wait for more. It trusts the server's word that nothing is left
    rather than the count at the start, which is wrong when messages in the stream are damaged.
    """

    def __init__(self, connection: NatsConnection, inbox: str, names: StreamNames, *, to_end: bool = False) -> None:
        self._connection = connection
        self._to_end = to_end
        self._ended = False
        self._names = names
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Received] = deque()
        self._changed = asyncio.Event()
        self._fault: str | None = None
        self._consumer = ""
        self._queued_bytes = 0
        self._requested = 0
        self._consumer_sequence = 0
        self._heard_at = self._loop.time()
        self.pending = 0
        connection.lost.add_done_callback(self._lost)

    async def take(self, limit: int, wait: float) -> list[Received]:
        """Return up to `limit` messages; wait up to `wait` seconds for the first, then return none.

        Raises BrokerUnavailable as soon as order or completeness are not certain any more.
        """
        until = self._loop.time() + wait
        while not self._queue:
            self._check()
            if self._has_ended():
                return []
            await self._request()
            now = self._loop.time()
            if now >= until and not self._to_end:
                return []
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._silent_at() if self._to_end else min(until, self._silent_at())):
                    await self._changed.wait()
            except TimeoutError:
                continue
        self._check()
        taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
        self._queued_bytes -= sum(len(message.data) for message in taken)
        if not self._has_ended():
            await self._request()
        return taken

    async def open(self, consumer: Consumer) -> None:
        """Begin to read from this consumer: ask for the first messages."""
        self._consumer = consumer.name
        self.pending = consumer.pending
        if not self._has_ended():
            await self._request()

    async def close(self) -> None:
        """Remove the consumer, if the connection still stands."""
        self._connection.lost.remove_done_callback(self._lost)
        if self._consumer and not self._connection.lost.done():
            with broker_faults_ignored():
                async with asyncio.timeout(1):
                    await self._connection.jetstream.delete_consumer(self._names.stream, self._consumer)

    async def on_message(self, message: Msg) -> None:
        """Take a message of the stream, or the status of a request."""
        self._heard_at = self._loop.time()
        if not message.reply:
            self._on_status(message.headers or {})
            return
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>; newer servers put
        # domain and account before the stream, and a random token at the end.
        tokens = message.reply.split(".")
        stream_sequence, consumer_sequence, at = tokens[5:8] if len(tokens) == 9 else tokens[7:10]
        if int(consumer_sequence) != self._consumer_sequence + 1:
            self._fail(f"message {self._consumer_sequence + 1} of the consumer is missing, got {consumer_sequence}")
            return
        self._consumer_sequence += 1
        self._requested -= 1
        headers, position = message.headers or {}, int(stream_sequence)
        received = Received(
            position=position,
            row_id=row_id(headers, self._names.stream, position),
            received_at=_EPOCH + timedelta(microseconds=int(at) // 1000),
            subject=self._names.from_wire(message.subject),
            headers=headers,
            data=message.data.decode(errors="replace"),
        )
        self._queue.append(received)
        self._queued_bytes += len(received.data)
        self._changed.set()

    def _on_status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status")
        if self._to_end and status in _SERVED:
            self._ended = True
            self._changed.set()
        elif status == "100":  # a heartbeat: it says how many messages we should have had
            if int(headers.get("Nats-Last-Consumer", self._consumer_sequence)) > self._consumer_sequence:
                self._fail("the last messages did not arrive")
        elif "Nats-Pending-Messages" in headers and (
            status in _SERVED or (status == "409" and headers.get("Description") in _SERVED_409)
        ):
            self._requested -= int(headers["Nats-Pending-Messages"])
            self._changed.set()
        else:  # the consumer is gone or has moved: 409, 503
            self._fail(f"the consumer answers {status} {headers.get('Description', '')}".rstrip())

    async def _request(self) -> None:
        """Ask for more when half of the window is free."""
        free = WINDOW - self._requested - len(self._queue)
        if free < WINDOW // 2 or self._queued_bytes > WINDOW_BYTES // 2 or (self._to_end and self._requested > 0):
            return
        if self._requested == 0:
            self._heard_at = self._loop.time()  # nothing was due until now
        self._requested += free
        request = {"batch": free, "max_bytes": WINDOW_BYTES}
        if self._to_end:
            request["no_wait"] = True
        else:
            request["expires"] = int(REQUEST_EXPIRES_SECONDS * 1e9)
            request["idle_heartbeat"] = int(HEARTBEAT_SECONDS * 1e9)
        with broker_faults():
            await self._connection.client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._names.stream}.{self._consumer}",
                msgspec.json.encode(request),
                reply=self._inbox,
            )

    def _has_ended(self) -> bool:
        """Whether all messages have come that were there at the start. Without that limit it might never end."""
        return self._to_end and (self._ended or self._consumer_sequence >= self.pending)

    def _silent_at(self) -> float:
        """Return the time at which the server must have been heard again."""
        return self._heard_at + HEARTBEAT_SECONDS * MISSED_HEARTBEATS

    def _check(self) -> None:
        if self._requested > 0 and self._loop.time() >= self._silent_at():
            self._fail("no heartbeat came")
        if self._fault is not None:
            raise BrokerUnavailable(self._fault)

    def _lost(self, reason: asyncio.Future[str]) -> None:
        self._fail(f"connection lost: {reason.result()}")

    def _fail(self, fault: str) -> None:
        self._fault = self._fault or fault
        self._queue.clear()  # complete up to the fault, but its user begins again anyway
        self._changed.set()


@asynccontextmanager
async def read(
    connection: NatsConnection,
    names: StreamNames,
    after: int,
    subjects: Sequence[str],
    make: MakeConsumer = make_consumer,
    *,
    to_end: bool = False,
) -> AsyncIterator[NatsFeed]:
    """Feed these subjects of a stream, from the position behind `after`. `make` makes the consumer."""
    if not subjects:
        raise ValueError("a feed without filters would read everything")
    inbox = connection.client.new_inbox()
    feed = NatsFeed(connection, inbox, names, to_end=to_end)
    with broker_faults():
        subscription = await connection.client.subscribe(
            inbox, cb=feed.on_message, pending_msgs_limit=UNLIMITED, pending_bytes_limit=UNLIMITED
        )
    try:
        await feed.open(await make(connection, names.stream, after, [names.to_wire(each) for each in subjects]))
        yield feed
    finally:
        with broker_faults_ignored():
            await subscription.unsubscribe()
        await feed.close()
