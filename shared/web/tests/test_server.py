"""What a connection may send, how long it may take for it, and how many there may be."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.web import server
from shared.web.server import MAX_HEAD, Server, listening

REQUEST = b"GET /thing HTTP/1.1\r\nHost: here\r\n"


LARGE = 32 << 20
"""Bytes of an answer that the system's buffers don't hold."""


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers with the path, or with much."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"x" * LARGE if scope["path"] == "/large" else scope["path"].encode()
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(app: ASGIApp = app) -> AsyncIterator[int]:
    async with running_server(app) as (_, port):
        yield port


@asynccontextmanager
async def running_server(app: ASGIApp = app) -> AsyncIterator[tuple[Server, int]]:
    running = Server(app, lifespan=False)
    with listening("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        task = asyncio.create_task(running.serve(sockets=[listener]))
        try:
            yield running, port
        finally:
            running.should_exit = True
            await task


async def answer_to(port: int, *pieces: bytes) -> tuple[bytes, bytes]:
    """Head and body of all that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def test_a_request_is_answered() -> None:
    async with served() as port:
        head, body = await answer_to(port, REQUEST + b"Connection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"/thing" in body


@pytest.mark.parametrize("requests", [1, 3], ids=["one request", "pipelined ones"])
async def test_a_client_that_sends_no_more_gets_its_answers(requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    half_closed = asyncio.Event()
    eof_received = server.BoundedProtocol.eof_received

    def noticed(protocol: server.BoundedProtocol) -> bool:
        half_closed.set()
        return eof_received(protocol)

    monkeypatch.setattr(server.BoundedProtocol, "eof_received", noticed)

    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await half_closed.wait()
        await app(scope, receive, send)

    async with served(patient) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((REQUEST + b"\r\n") * requests)
        writer.write_eof()
        assert (await reader.read()).count(b"HTTP/1.1 200 ") == requests
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [b"", REQUEST, REQUEST + b"Content-Length: 9\r\n\r\nhalf", REQUEST + b"\r\n"],
    ids=["nothing", "half a head", "half a body", "what is answered"],
)
async def test_a_client_that_sends_no_more_and_waits_for_nothing_is_let_go(sent: bytes) -> None:
    told: list[str] = []

    async def listening_app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        told.append(message["type"])
        await app(scope, receive, send)

    async with served(listening_app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answered = await reader.readuntil(b"0\r\n\r\n") if sent.endswith(b"\r\n\r\n") else b""
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert told == (["http.request"] if answered else ["http.disconnect"] if sent.endswith(b"half") else [])


@pytest.mark.parametrize(
    "pieces",
    [
        (REQUEST + b"X: " + b"x" * MAX_HEAD + b"\r\n\r\n",),
        (REQUEST + b"".join(b"X-%d: x\r\n" % number for number in range(MAX_HEAD // 8)) + b"\r\n",),
        (b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\nHost: here\r\n\r\n",),
        (REQUEST, b"X: " + b"x" * MAX_HEAD),
    ],
    ids=["a long header", "many headers", "a long path", "a header without an end"],
)
async def test_too_much_before_the_body_is_refused(pieces: tuple[bytes, ...]) -> None:
    async with served() as port:
        head, body = await answer_to(port, *pieces)
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["detail"] == "the request line and the headers are larger than 32 KiB"


async def test_what_is_no_http_is_told_so() -> None:
    async with served() as port:
        head, body = await answer_to(port, b"EHLO here\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize("sent", [b"", REQUEST], ids=["nothing", "half a request"])
async def test_nobody_holds_a_connection_without_a_request(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)
    async with served() as port:
        assert await answer_to(port, sent) == (b"", b"")


async def test_a_connection_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head, body = await answer_to(port)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in head
        assert json.loads(body)["detail"] == "the service has too many connections: try again"
        writer.write(REQUEST + b"Connection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


class Idler:
    """A client that asks for much and takes it only when it is told to."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, running: Server, number: int) -> None:
        """Its answer lies with the server, as that of a certain number of clients by now."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 16)
        self._writer.write(b"GET /large HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        while len(unread(running)) < number:
            await asyncio.sleep(0.01)

    async def take(self) -> int:
        """How much comes until the connection is closed or cut off."""
        size = 0
        with suppress(ConnectionResetError):
            while piece := await self._reader.read(1 << 16):
                size += len(piece)
        self._writer.close()
        return size


def unread(running: Server) -> list[object]:
    return [each for each in running.server_state.connections if getattr(each, "_unread", None) is not None]


async def test_an_answer_that_is_not_taken_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UNREAD_SECONDS", 0.3)
    async with running_server() as (running, port):
        idler = Idler(port)
        await idler.ask(running, 1)
        while running.server_state.connections:
            await asyncio.sleep(0.01)
        assert await idler.take() < LARGE


async def test_of_answers_that_are_too_much_together_the_oldest_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_UNREAD", LARGE + 1)
    async with running_server() as (running, port):
        first, second = Idler(port), Idler(port)
        await first.ask(running, 1)
        cut_off = unread(running)
        await second.ask(running, 1)
        while set(cut_off) & set(running.server_state.connections):
            await asyncio.sleep(0.01)
        assert await first.take() < LARGE < await second.take()


@pytest.mark.parametrize("accepted", [False, True], ids=["not accepted yet", "accepted"])
async def test_who_has_connected_when_it_ends_is_answered(accepted: bool) -> None:
    running = Server(app, lifespan=False)
    with listening("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(running.serve(sockets=[listener]))
        await answer_to(listener.getsockname()[1], REQUEST + b"Connection: close\r\n\r\n")
        with socket.create_connection(listener.getsockname()) as client:
            while accepted and not running.server_state.connections:
                await asyncio.sleep(0)
            ending = asyncio.create_task(running.shutdown([listener]))
            await asyncio.sleep(0)
            client.sendall(REQUEST + b"\r\n")
            answer = await asyncio.to_thread(client.makefile("rb").read)
        await ending
        running.should_exit = True
        await serving
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


async def test_a_silent_connection_does_not_keep_it_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAST_HEAD_SECONDS", 0.01)
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b""
    writer.close()
