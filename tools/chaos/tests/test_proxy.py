"""Each trouble of the proxy is one, and passes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.stream import StreamLimits
from shared.messaging.broker import Publication
from tests.support.infra import Infra
from tests.support.kept_broker import KeptBroker
from tools.chaos.proxy import Direction, Frames, Proxy, Trouble, is_publish_ack, proxy

HELD = Trouble(held=frozenset(Direction))
ACK = b'MSG _INBOX.x.1 2 26\r\n{"stream":"FTGO", "seq":7}\r\n'
DUPLICATE = b'MSG _INBOX.x.1 2 43\r\n{"stream":"FTGO", "seq":7,"duplicate":true}\r\n'
INFO = b'MSG _INBOX.x.1 2 44\r\n{"type":"io.nats.stream","stream":1,"seq":7}\r\n'
DATA = b"HMSG ftgo.0.event.order.OrderCreated 3 12 16\r\nNATS/1.0\r\n\r\n{\r\n}\r\n"


class Echo:
    """A client of a server, which says the same back."""

    def __init__(self, through: Proxy, received: bytearray) -> None:
        self.received_by_server = received
        self.proxy = through

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)

    async def says(self, text: bytes) -> bytes:
        self.writer.write(text)
        return await self.reader.read(len(text))

    async def comes_through(self, text: bytes) -> bool:
        self.writer.write(text)
        return await self.is_heard()

    async def is_heard(self) -> bool:
        try:
            async with asyncio.timeout(0.1):
                return bool(await self.reader.read(100))
        except TimeoutError:
            return False


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    received = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            received.extend(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with proxy(server.sockets[0].getsockname()[1]) as between:
        client = Echo(between, received)
        await client.connect()
        yield client
        client.writer.close()
    server.close()


async def test_without_trouble() -> None:
    async with echo() as client:
        assert await client.says(b"hello") == b"hello"


async def test_refusing_ends_connections_and_takes_no_new_ones() -> None:
    async with echo() as client:
        await client.says(b"hello")
        await client.proxy.begin(Trouble(refuses=True))
        for _ in range(2):
            with pytest.raises(ConnectionError):
                if not await client.says(b"x"):
                    raise ConnectionResetError
            await client.connect()
        await client.proxy.end()
        await client.connect()
        assert await client.says(b"hello") == b"hello"


async def test_what_is_held_arrives_later() -> None:
    async with echo() as client:
        await client.proxy.begin(HELD)
        assert not await client.comes_through(b"hello")
        assert not client.received_by_server
        await client.proxy.end()
        assert await client.reader.read(100) == b"hello"


async def test_one_direction_is_held() -> None:
    async with echo() as client:
        await client.proxy.begin(Trouble(held=frozenset({Direction.TO_CLIENT})))
        assert not await client.comes_through(b"hello")
        assert client.received_by_server == b"hello"
        client.proxy.cut()
        await client.proxy.end()
        with pytest.raises(ConnectionError):
            if not await client.reader.read(100):
                raise ConnectionResetError


async def test_slowness() -> None:
    async with echo() as client:
        await client.proxy.begin(Trouble(bytes_per_second=1))
        assert not await client.comes_through(b"hello")
        await client.proxy.begin(Trouble(bytes_per_second=100_000, delay=0.001))
        assert await client.says(b"hello") == b"hello"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_frames_are_cut_at_their_ends(size: int) -> None:
    expected = [b'INFO {"a":1}\r\n', b"PONG\r\n", DATA, ACK, b"+OK\r\n", INFO]
    stream, frames = b"".join(expected), Frames()
    found = [frame for at in range(0, len(stream), size) for frame in frames.cut(stream[at : at + size])]
    assert found == expected


@pytest.mark.parametrize(
    ("frame", "expected"), [(ACK, True), (DUPLICATE, True), (INFO, False), (DATA, False), (b"PING\r\n", False)]
)
def test_what_an_acknowledgement_is(frame: bytes, expected: bool) -> None:
    assert is_publish_ack(frame) is expected


async def test_acknowledgements_are_lost_and_nothing_else(infra: Infra) -> None:
    with infra.nats() as nats:
        await _loses_acknowledgements(int(nats.url.rpartition(":")[2]))


async def _loses_acknowledgements(server_port: int) -> None:
    async with proxy(server_port, speaks_nats=True) as between:
        address = NatsAddress(f"nats://127.0.0.1:{between.port}", FTGO)
        broker = KeptBroker(address, 1, StreamLimits(max_age=3600, max_bytes=1 << 20))
        async with broker.connect() as log:
            message = Publication(row_id="chaos-1", subject="0.event.chaos.Lost", headers={}, data="")
            await between.begin(Trouble(loses_acks=True))
            publishing = asyncio.create_task(log.publish([message]))
            while not between.lost_acks:
                await asyncio.sleep(0.01)
            bounds = await log.bounds()
            assert (await log.message_at(bounds.last)).row_id == "chaos-1"  # type: ignore[union-attr]
            assert not publishing.done()
            publishing.cancel()
        await between.end()
        async with broker.connect() as log:
            assert await log.publish([message]) == [bounds.last]
