"""What a connection may send, how long it may take for it, and how many there may be."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.web import server
from shared.web.server import MAX_HEAD, Server, listening

REQUEST = b"GET /thing HTTP/1.1\r\nHost: here\r\n"


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers with the path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@asynccontextmanager
async def served(app: ASGIApp = app) -> AsyncIterator[int]:
    running = Server(app, lifespan=False)
    with listening("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        task = asyncio.create_task(running.serve(sockets=[listener]))
        try:
            yield port
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
