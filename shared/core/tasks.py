"""What a process lives by: tasks that go on for as long as it does. None of them ends unseen."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Tasks:
    """Long-lived tasks. The first that ends before `stopping`, whether it failed, returned or was cancelled by
    something that went astray, has to end the process: whoever runs that waits for `ended`, and looks at `failure`."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.failure: str | None = None
        """What has failed, and why; None as long as all is well. A process with a failure exits with 1."""
        self._stopping = False

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a task that goes on until `stopping`."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._note_its_end)
        return task

    def stopping(self) -> None:
        """From now on they are expected to end. A failure still is one."""
        self._stopping = True

    def _note_its_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None and self._stopping:
            return
        if error is not None:
            reason = str(error) or type(error).__name__
        else:
            reason = "it was cancelled" if task.cancelled() else "it returned"
        name = task.get_name()
        self.failure = self.failure or f"{name} has ended: {reason}"
        self.ended.set()
        log.critical("a task has failed: the process ends", task=name, reason=reason, exc_info=error)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Does `work` beside the block, until that ends. If `work` fails, it ends the block, and raises what failed."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            yield
            task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the other one was only cancelled
