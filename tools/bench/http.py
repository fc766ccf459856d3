"""A cheap HTTP/1.1 client: requests are prepared bytes, and only the needed parts of an answer are read.

A general client takes more CPU per request than the order service does per order.
"""

import asyncio
from typing import Self
from urllib.parse import urlsplit

_END_OF_HEAD = b"\r\n\r\n"
_ANSWER_SECONDS = 30.0
_LENGTH = b"\r\ncontent-length:"


def request(method: str, path: str, body: bytes = b"", key: str | None = None) -> bytes:
    """Return a request's bytes. With a key, it may be sent again and is done only once."""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    if key is not None:
        head += f"\r\nIdempotency-Key: {key}"
    return head.encode() + _END_OF_HEAD + body


def read_head(head: bytes) -> tuple[int, int]:
    """Return the status, and the length of the body that follows. ValueError where the length is missing."""
    version, status = head[:12].split(b" ")
    lowered = head.lower()
    found = lowered.find(_LENGTH)
    if not version.startswith(b"HTTP/1.") or found < 0:
        raise ValueError(f"this is no answer with a length: {head!r}")
    begin = found + len(_LENGTH)
    return int(status), int(lowered[begin : lowered.index(b"\r\n", begin)])


class Connection:
    """A connection to a service, with one request on it at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, url: str) -> Self:
        """Connect. Raises OSError."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def ask(self, prepared: bytes) -> tuple[int, bytes]:
        """Send a request, and return the answer's status and body."""
        self._writer.write(prepared)
        status, length = read_head(await self._reader.readuntil(_END_OF_HEAD))
        return status, await self._reader.readexactly(length)

    @property
    def is_closed(self) -> bool:
        """Whether the service has closed the connection, as it does after a while without requests."""
        return self._reader.at_eof()

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


class Connections:
    """A pool of connections to a service: as many as there are requests at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[Connection] = []

    async def ask(self, prepared: bytes) -> tuple[int, bytes]:
        """Send a request on a connection that is not in use. Raises OSError (TimeoutError is one) and EOFError."""
        connection = self._take() or await Connection.to(self._url)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await connection.ask(prepared)
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)
        return answer

    def _take(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close all connections."""
        for connection in self._free:
            connection.close()
