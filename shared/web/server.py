"""The HTTP server of a process: limits what a connection may send and how long it may take.

uvicorn has no limits of its own for request lines and headers, and answers in plain text.
"""

import asyncio
import resource
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.web import problems

log = structlog.get_logger(__name__)

MAX_HEAD = 32 << 10
"""The most bytes of a request line with its headers."""
HEAD_SECONDS = 10.0
"""How many seconds a client may take to send them, from the start of the connection too."""
LAST_HEAD_SECONDS = 0.5
"""`HEAD_SECONDS` for a server that is ending."""
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an unused connection in their pools."""
UNREAD_SECONDS = 60.0
"""How many seconds a client may leave an answer unread."""
MAX_UNREAD = 32 << 20
"""The most bytes of unread answers of all clients: beyond it, those unread for longest are cut off."""
MAX_CONNECTIONS = 2000
BACKLOG = 1024
_FILES_BESIDES = 200


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with the limits of this module. Overrides asyncio's and uvicorn's callbacks."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience: asyncio.TimerHandle | None = None
        self._head_size = 0
        self._unread: asyncio.TimerHandle | None = None
        self._is_last = False
        self._half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._end_with(problems.TOO_MANY_CONNECTIONS)
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_complete()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the limit for unread answers: the client reads more slowly than it is answered."""
        super().pause_writing()
        self._is_read()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
        _cut_off_the_slowest(each for each in self.connections if isinstance(each, BoundedProtocol))

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._patience is not None:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._end_with(problems.HEAD_TOO_LARGE)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Still answer the complete requests of a client that has closed its sending side."""
        self._head_is_complete()
        cycle = self.cycle  # None before the first request, though its type does not say so
        self._half_closed = bool(cycle) and not (cycle.more_body or cycle.response_complete)
        return self._half_closed

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_closed and self.cycle.response_complete:
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._head_is_complete()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD:
            self.app = _HEAD_TOO_LARGE
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection, but give a new one a moment to send its request: the answer says why it is refused."""
        if self._patience is None:
            super().shutdown()
        else:
            self._is_last = True
            self._patience.cancel()
            self._patience = self.loop.call_later(LAST_HEAD_SECONDS, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, and close the connection."""
        self._end_with(problems.NOT_HTTP)

    def _wait_for_head(self) -> None:
        self._head_is_complete()
        self._head_size = 0
        self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_is_complete(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end_with(self, kind: problems.Kind) -> None:
        """Answers though there is no request that could be answered, and closes the connection."""
        self._head_is_complete()
        answer = problems.problem(kind, headers={"Connection": "close"})
        head = f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}\r\n".encode()
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(head + fields + b"\r\n" + bytes(answer.body))
        self.transport.close()


def _cut_off_the_slowest(connections: Iterable[BoundedProtocol]) -> None:
    """Close the connections whose answers have been unread longest, while too many bytes are unread in total."""
    unread = [(each._unread.when(), each.transport) for each in connections if each._unread is not None]
    total = sum(transport.get_write_buffer_size() for _, transport in unread)
    for _, transport in sorted(unread, key=lambda each: each[0]):
        if total <= MAX_UNREAD:
            return
        total -= transport.get_write_buffer_size()
        transport.abort()


_HEAD_TOO_LARGE: Any = problems.problem(problems.HEAD_TOO_LARGE, headers={"Connection": "close"})


class Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to its caller, as other parts must end first. `should_exit` ends it."""

    def __init__(self, app: ASGIApp, *, lifespan: bool = True) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                lifespan="on" if lifespan else "off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here depends on the client's address
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,  # for the last bytes of answers: its caller has waited for the requests
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the server. Clients that have connected but were not accepted yet are accepted first, and get an
        answer."""
        waiting = [client for listener in sockets or () for client in _waiting(listener)]
        for server in self.servers:  # at once: a client that connected in between would not be accepted
            server.close()
        for client in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, client)
        await super().shutdown(sockets)

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.setblocking(False)
            yield client


def listening(host: str, port: int) -> socket.socket:
    """Return the socket that clients connect to.

    End the process with one log line if the address cannot be used.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _FILES_BESIDES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as fault:
        log.critical("can't listen", host=host, port=port, reason=fault.strerror)
        raise SystemExit(1) from None
