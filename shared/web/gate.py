"""Decides which requests are let in: no more at once than a limit, and none when the process is about to end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from shared.web.problems import OVERLOADED, STOPPING, Kind

SMALL_BODY = 4 << 10
"""The bytes of a body that always have room: so large bodies cannot keep small ones out."""
MAX_LARGE_BODIES = 8 << 20
"""The bytes beyond `SMALL_BODY` of all bodies together. Parsed, they take several times as much."""


class Visit:
    """A request that was let in, and the room that its body takes."""

    def __init__(self, gate: "Gate") -> None:
        self._gate = gate
        self._large = 0

    def has_room_for(self, size: int) -> bool:
        """Reserve room for a body of `size` bytes so far; return whether there was enough."""
        large = max(0, size - SMALL_BODY)
        self._gate.large_bodies += large - self._large
        self._large = large
        return large == 0 or self._gate.large_bodies <= MAX_LARGE_BODIES

    def end(self) -> None:
        """Release the room."""
        self.has_room_for(0)


class Gate:
    """Counts the requests in progress. The application asks it for every request; the server closes it at the end."""

    def __init__(self, max_requests: int = 1500) -> None:
        self._max_requests = max_requests
        self._under_way = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False
        self.large_bodies = 0
        self.leaving = False
        """Whether clients are told to open a new connection next time, which may lead to another replica."""

    def refusal(self) -> Kind | None:
        """Why a request is not let in now; None when it is."""
        if self._closed:
            return STOPPING
        if self._under_way >= self._max_requests:
            return OVERLOADED
        return None

    @contextmanager
    def passing(self) -> Iterator[Visit]:
        """Count a request as in progress inside the block."""
        self._under_way += 1
        self._empty.clear()
        visit = Visit(self)
        try:
            yield visit
        finally:
            visit.end()
            self._under_way -= 1
            if self._under_way == 0:
                self._empty.set()

    async def close(self) -> None:
        """Let no more requests in, and return when those in progress have been answered."""
        self._closed = True
        await self._empty.wait()
