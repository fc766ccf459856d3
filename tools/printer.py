"""Output for long-running commands: a slow or missing reader can't block them."""

import io
import os
import queue
import threading
from contextlib import suppress
from typing import TextIO

MAX_WAITING = 1000
"""Pieces of text that wait to be printed."""
_LAST_SECONDS = 2.0


class Printer(io.TextIOBase, TextIO):
    """A stream to a file descriptor whose writes neither fail nor block. Text that can't be printed is dropped.

    The reader may be gone, or the disk full; a terminal may be paused (Ctrl-S), or a pipe full. So a thread writes,
    and bypasses Python's own buffer, which would be flushed again when the process ends.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[str] = queue.Queue(MAX_WAITING)
        threading.Thread(target=self._print, name="printer", daemon=True).start()

    def fileno(self) -> int:
        """Return the file descriptor that is written to."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether the file descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Queue text for printing, unless too much is queued already."""
        with suppress(queue.Full):
            self._waiting.put_nowait(text)
        return len(text)

    def finish(self) -> None:
        """Wait a moment until the last text is printed. To be called before the process ends."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, _LAST_SECONDS)

    def _print(self) -> None:
        while True:
            left = self._waiting.get().encode(errors="replace")
            with suppress(OSError):
                while left:
                    left = left[os.write(self._descriptor, left) :]
            self._waiting.task_done()
