"""Which requests are let in: no more at once than a limit, and none when the process is about to end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Asked by the application for every request; closed by the server that is to end."""

    def __init__(self, most_at_once: int = 1500) -> None:
        self._most_at_once = most_at_once
        self._under_way = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False
        self.leaving = False
        """Clients are told to open another connection next time, which may lead to another replica."""

    def refusal(self) -> str | None:
        """Why a request is not let in now; None when it is."""
        if self._closed:
            return "the service is stopping: try again"
        if self._under_way >= self._most_at_once:
            return "the service is overloaded: try again"
        return None

    @contextmanager
    def passing(self) -> Iterator[None]:
        """A request that was let in is being answered."""
        self._under_way += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._empty.set()

    async def close(self) -> None:
        """Lets nobody in any more, and returns when those inside have been answered."""
        self._closed = True
        await self._empty.wait()
