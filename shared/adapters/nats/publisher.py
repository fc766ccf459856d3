"""Publishes to a stream: messages are pipelined, and all their acknowledgements are awaited together."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

import msgspec
from nats.aio.msg import Msg

from shared.adapters.nats.connection import UNLIMITED, NatsConnection, broker_faults, broker_faults_ignored
from shared.adapters.nats.names import NatsNames, StreamNames
from shared.messaging.broker import BrokerUnavailable, Publication
from shared.messaging.envelope import ROW_ID_HEADER

WINDOW = 1000
"""Maximum of unacknowledged messages: far below what the server buffers per stream (10,000)."""
BATCH_MESSAGES = 50
"""Messages per write to the socket."""
ACK_SECONDS = 10.0
"""Seconds without any acknowledgement after which the connection is given up. The total time has no limit."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LINE_BREAKS = str.maketrans("\r\n", "  ")
"""Line breaks, which a header's value can't contain, become spaces."""

_NEVER_ACCEPTED = frozenset({10054, 10097})  # the message, or its header, is larger than the stream allows


class _Refusal(msgspec.Struct):
    code: int
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


_decode_ack = msgspec.json.Decoder(_Ack).decode


class NatsPublisher:
    """Publishes to one stream. It is acknowledged in an inbox of its own, whose last token names the message."""

    def __init__(self, connection: NatsConnection, names: StreamNames, inbox: str) -> None:
        self._connection = connection
        self._names = names
        self._inbox = inbox
        self._sent = 0
        self._last_position = 0
        self._loop = asyncio.get_running_loop()
        self._heard_at = 0.0
        self._awaited: dict[str, int] = {}  # index in the window, by token
        self._positions: list[int | None] = []
        self._changed = asyncio.Event()
        self._fault: str | None = None
        connection.lost.add_done_callback(self._lost)

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        """Store messages in this order; return the position of each, None for what is never accepted.

        One call at a time. Raises BrokerUnavailable when an acknowledgement is missing.
        """
        self._check()
        positions: list[int | None] = []
        for start in range(0, len(messages), WINDOW):
            positions += await self._publish_window(messages[start : start + WINDOW])
        return positions

    async def on_ack(self, message: Msg) -> None:
        """Take the server's answer to one message."""
        self._heard_at = self._loop.time()
        token = message.subject.rpartition(".")[2]
        index = self._awaited.pop(token, None)
        if index is None:
            return  # it belongs to a window that was given up
        if message.headers and message.headers.get("Status") == "503":
            self._fail("there is no stream for these subjects")
            return
        ack = _decode_ack(message.data)
        if ack.error is None:
            if not ack.duplicate:
                if ack.seq <= self._last_position:
                    self._fail(f"the stream went back from {self._last_position} to {ack.seq}")
                self._last_position = ack.seq
            self._positions[index] = ack.seq
        elif ack.error.err_code not in _NEVER_ACCEPTED:
            self._fail(f"not stored: {ack.error.description}")
        if not self._awaited:
            self._changed.set()

    async def _publish_window(self, messages: Sequence[Publication]) -> list[int | None]:
        self._positions = [None] * len(messages)
        self._changed.clear()
        with broker_faults():
            async with asyncio.timeout(ACK_SECONDS):
                for start in range(0, len(messages), BATCH_MESSAGES):
                    frames = (
                        self._frame(index, message)
                        for index, message in enumerate(messages[start : start + BATCH_MESSAGES], start)
                    )
                    await self._connection.client.send(b"".join(frames))
                    await asyncio.sleep(0)  # lets it go out, so that the server works on it meanwhile
        self._heard_at = self._loop.time()
        while self._awaited and self._fault is None:
            await self._acknowledged()
        self._check()
        return self._positions

    async def _acknowledged(self) -> None:
        """Wait until all are acknowledged; give up after `ACK_SECONDS` without any."""
        try:
            async with asyncio.timeout_at(self._heard_at + ACK_SECONDS):
                await self._changed.wait()
            self._changed.clear()
        except TimeoutError:
            if self._loop.time() >= self._heard_at + ACK_SECONDS:
                self._fail(f"{len(self._awaited)} acknowledgements are missing, and none came for {ACK_SECONDS:g} s")

    def _frame(self, index: int, message: Publication) -> bytes:
        """Return the message as it is sent; empty if the server would close the connection because of it."""
        payload = message.data.encode()
        headers = header_block(self._connection.names, message.row_id, message.headers)
        size = len(headers) + len(payload)
        if size > self._connection.client.max_payload or not headers or not _is_subject(message.subject):
            return b""
        self._sent += 1
        token = str(self._sent)
        self._awaited[token] = index
        command = f"HPUB {self._names.to_wire(message.subject)} {self._inbox}.{token} {len(headers)} {size}\r\n"
        return b"".join((command.encode(), headers, payload, b"\r\n"))

    def _check(self) -> None:
        if self._connection.lost.done():
            self._lost(self._connection.lost)
        if self._fault is not None:
            raise BrokerUnavailable(self._fault)

    def _lost(self, reason: asyncio.Future[str]) -> None:
        self._fail(f"connection lost: {reason.result()}")

    def _fail(self, fault: str) -> None:
        """Make this and every later call fail: the order of what follows is not certain any more."""
        self._fault = self._fault or fault
        self._changed.set()


@lru_cache(maxsize=1024)
def _is_subject(subject: str) -> bool:
    return re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", subject) is not None


def header_block(names: NatsNames, row_id: str, headers: Mapping[str, str]) -> bytes:
    """Return the headers as they are sent, the row's id first; empty where one of them has no valid name."""
    if not _are_names(tuple(headers)):
        return b""
    values = {ROW_ID_HEADER: row_id, **headers}
    text = "".join(values.values())
    if "\r" in text or "\n" in text:
        values = {name: value.translate(_LINE_BREAKS) for name, value in values.items()}
    text = "".join(("NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in values.items()), "\r\n"))
    return names.headers_to_wire(text.encode())


@lru_cache(maxsize=1024)
def _are_names(names: tuple[str, ...]) -> bool:
    return all(_NAME.fullmatch(name) for name in names)


@asynccontextmanager
async def open_publisher(connection: NatsConnection, names: StreamNames) -> AsyncIterator[NatsPublisher]:
    """Open a publisher to a stream, with an inbox of its own."""
    inbox = connection.client.new_inbox()
    publisher = NatsPublisher(connection, names, inbox)
    with broker_faults():
        subscription = await connection.client.subscribe(
            f"{inbox}.*", cb=publisher.on_ack, pending_msgs_limit=UNLIMITED, pending_bytes_limit=UNLIMITED
        )
    try:
        yield publisher
    finally:
        with broker_faults_ignored():
            await subscription.unsubscribe()
