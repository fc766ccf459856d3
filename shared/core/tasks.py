"""Tasks that run as long as their process. If one ends early, the process ends with an error."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Tasks:
    """Long-lived tasks of one process.

    A task that ends before `stopping` is called has failed, whether it raised, returned or was cancelled by mistake.
    Then the process must end: whoever runs it waits for `ended` and reads `failure`.
    """

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.failure: str | None = None
        """Which task has failed, and why; None if none has. A process with a failure exits with status 1."""
        self._stopping = False

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that runs until `stopping`, and return it."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._note_its_end)
        return task

    def stopping(self) -> None:
        """Expect the tasks to end from now on. One that raises still counts as a failure."""
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
    """Run `work` while the block runs, and cancel it at the end of the block.

    If `work` fails, the block is cancelled and the error of `work` is raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            yield
            task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the other one was only cancelled
