"""A TCP proxy between a program and a server, which can delay, hold back or lose data."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum

_CHUNK = 1 << 12
"""Bytes; small, so that a slow connection delivers continuously."""


class Direction(Enum):
    """Which way bytes go."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the network; nothing by default.

    With `refuses` there are no connections. Data in a direction of `held` arrives only later. `bytes_per_second`
    and `delay` (seconds, for each piece that is sent on) make it slow. `loses_acks` takes away, of all that a
    nats-server says, what acknowledges publishing.
    """

    refuses: bool = False
    held: frozenset[Direction] = frozenset()
    bytes_per_second: float | None = None
    delay: float = 0.0
    loses_acks: bool = False


NONE = Trouble()


class Proxy:
    """Listens on `port` of 127.0.0.1 for the server on `server_port`. With `speaks_nats` it can lose acknowledgements.

    `accepted` counts the connections so far, `lost_acks` the acknowledgements lost.
    """

    def __init__(self, server_port: int, *, speaks_nats: bool = False) -> None:
        self.port = 0
        self.accepted = 0
        self.lost_acks = 0
        self._server_port = server_port
        self._speaks_nats = speaks_nats
        self._trouble = NONE
        self._changed = asyncio.Condition()
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def begin(self, trouble: Trouble) -> None:
        """Start a trouble, which also affects existing connections."""
        await self._change(trouble)
        if trouble.refuses:
            self.cut()

    async def end(self) -> None:
        """Let everything through again; what was held arrives now."""
        await self._change(NONE)

    def cut(self) -> None:
        """End all existing connections; data in transit is lost."""
        for writers in self._connections.values():
            for writer in writers:
                writer.transport.abort()

    async def _change(self, trouble: Trouble) -> None:
        async with self._changed:
            self._trouble = trouble
            self._changed.notify_all()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = self._connections[task] = [to_client]
        self.accepted += 1
        try:
            if self._trouble.refuses:
                return
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
            writers.append(to_server)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(from_client, to_server, Direction.TO_SERVER))
                pumps.create_task(self._pump(from_server, to_client, Direction.TO_CLIENT))
        except* (_Ended, OSError):
            pass
        finally:
            for writer in writers:
                writer.transport.abort() if self._trouble.refuses else writer.close()
            del self._connections[task]

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction) -> None:
        """Forward one direction of one connection. Raises _Ended, with which the other direction ends too."""
        frames = Frames() if self._speaks_nats and direction is Direction.TO_CLIENT else None
        while data := await source.read(_CHUNK):
            if frames is not None:
                data = b"".join(self._without_acks(frames.cut(data)))
            await self._pass(direction, len(data))
            sink.write(data)
            await sink.drain()
        raise _Ended

    async def _pass(self, direction: Direction, size: int) -> None:
        """Wait for as long as the network takes for a piece of that size."""
        async with self._changed:
            await self._changed.wait_for(lambda: direction not in self._trouble.held)
        if pause := self._trouble.delay + size / (self._trouble.bytes_per_second or float("inf")):
            await asyncio.sleep(pause)

    def _without_acks(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        for frame in frames:
            if self._trouble.loses_acks and is_publish_ack(frame):
                self.lost_acks += 1
            else:
                yield frame


class _Ended(Exception):
    """One side has closed the connection."""


class Frames:
    """Cuts what a nats-server sends into whole messages of its protocol."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Return the messages that this piece completes."""
        self._rest += data
        while (end := self._rest.find(b"\r\n")) >= 0:
            line = bytes(self._rest[:end])
            size = end + 2
            if line.startswith((b"MSG ", b"HMSG ")):
                size += int(line.rpartition(b" ")[2]) + 2
            if len(self._rest) < size:
                return
            frame = bytes(self._rest[:size])
            del self._rest[:size]
            yield frame


def is_publish_ack(frame: bytes) -> bool:
    """Whether this is JetStream's acknowledgement of a stored message. Its other answers have a type."""
    head, _, body = frame.partition(b"\r\n")
    if not head.startswith(b"MSG "):
        return False
    with suppress(ValueError):
        said = json.loads(body)
        return isinstance(said, dict) and {"stream", "seq"} <= said.keys() and "type" not in said
    return False


@asynccontextmanager
async def proxy(server_port: int, *, speaks_nats: bool = False) -> AsyncIterator[Proxy]:
    """A proxy that listens on a free port."""
    made = Proxy(server_port, speaks_nats=speaks_nats)
    server = await asyncio.start_server(made._serve, "127.0.0.1")
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await asyncio.gather(*made._connections, return_exceptions=True)
