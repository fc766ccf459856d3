"""Structured logs: one line per event, for people or for machines, with the ids of what is being handled.

Logging must not disturb the work that it reports. So no log call raises: a line that cannot be made or written, because
the disk is full or the reader is gone, is counted and dropped.
"""

import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from prometheus_client import Counter
from structlog.typing import ExcInfo

from shared.core.context import NO_CAUSE, current_cause
from shared.core.printable import printable

LINES_LOST = Counter("log_lines_lost", "Log lines that could not be written")
log = structlog.get_logger(__name__)


class Sparingly:
    """Limits lines that could fill a disk.

    The first is due at once, the next after a period, with the number of occurrences since the last.
    """

    def __init__(self, period: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._due_at = clock()
        self._times = 0

    def now(self) -> int:
        """Count an occurrence; return how many there were since the last line if a line is due, else 0."""
        self._times += 1
        if self._clock() < self._due_at:
            return 0
        times, self._times = self._times, 0
        self._due_at = self._clock() + self._period
        return times


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Log an error of the block instead of raising it: the block only reports on work that is already done."""
    try:
        yield
    except Exception:
        log.exception("reporting failed: the reported work is done", what=what)


class Lines:
    """The destination of log lines, as structlog expects it: the file of a stream such as `sys.stdout`.

    The stream is None in a process that was started without one. Nothing is buffered: buffered bytes that cannot be
    written would be tried again with every later line, and at the end of the process, where they would change its exit
    status.
    """

    def __init__(self, stream: TextIO | None) -> None:
        buffer = getattr(stream, "buffer", None)
        self._file: Any = getattr(buffer, "raw", buffer)
        self._lock = threading.RLock()  # a destructor that runs inside the lock may log too
        self._torn = False
        self._lost = 0

    def msg(self, line: str) -> None:
        """Write a line, or count it as lost."""
        lost = 0
        with self._lock:
            try:
                self._write(f"{line}\n".encode(errors="backslashreplace"))
                lost, self._lost = self._lost, 0
            except Exception:
                self._lost += 1
                LINES_LOST.inc()
        if lost:  # outside the lock: it is a normal line
            log.warning("log lines could not be written", lost=lost)

    debug = info = warning = error = critical = msg

    def isatty(self) -> bool:
        """Return whether the lines go to a terminal."""
        try:
            return bool(self._file.isatty())
        except Exception:
            return False

    def _write(self, data: bytes) -> None:
        """Write all the bytes.

        A full disk may take only a part of a line: then the next line begins with a line break.
        """
        left = memoryview(b"\n" + data if self._torn else data)
        while left:
            written = self._file.write(left)
            if not written:
                raise BlockingIOError("the reader does not keep up")
            left = left[written:]
            self._torn = bool(left)


class _Handler(logging.Handler):
    """A handler for the log records of libraries."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            LINES_LOST.inc()
        else:
            self._lines.msg(line)


def _bound_logger(level: str) -> type[Any]:
    base: Any = structlog.make_filtering_bound_logger(level)

    class BoundLogger(base):  # type: ignore[misc]
        """A logger that counts a line that cannot be made, for example of a value whose `repr` fails."""

        def _proxy_to_logger(self, *arguments: Any, **named: Any) -> None:
            try:
                super()._proxy_to_logger(*arguments, **named)
            except Exception:
                LINES_LOST.inc()

    return BoundLogger


def configure_logging(service: str, level: str = "info", format: str = "json") -> None:  # noqa: A002 - what it is
    """Send the process's log lines, including those of libraries, to standard output.

    `level` is debug, info, warning or error; `format` is console or json.
    """
    lines = Lines(sys.stdout)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _ids,
        structlog.processors.EventRenamer("message") if format == "json" else _one_line,
    ]
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if format == "json"
        else [structlog.dev.ConsoleRenderer(colors=lines.isatty(), exception_formatter=_indented_traceback)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=_bound_logger(level),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)
    handler = _Handler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer]
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for library in ("asyncio", "nats", "uvicorn.access", "alembic"):
        logging.getLogger(library).setLevel("WARNING")
    logging.getLogger("uvicorn.error").setLevel("ERROR")  # any client can cause lower ones, without end


def _ids(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    cause = current_cause()
    if cause is not NO_CAUSE:
        event.setdefault("correlation_id", cause.correlation_id)
        event.setdefault("request_id", cause.id)
        event.setdefault("causation_id", cause.causation_id)
    return event


def _one_line(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Escape texts: a client's text must not look like a line of the log or control a terminal; JSON escapes anyway."""
    event["event"] = str(event["event"])
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _indented_traceback(output: TextIO, error: ExcInfo) -> None:
    """Write a traceback with indented lines: an error's text may be a client's, and must not look like a log line."""
    traceback = io.StringIO()
    structlog.dev.plain_traceback(traceback, error)
    output.write("\n  ".join(map(printable, traceback.getvalue().split("\n"))))
