"""Structured logs: one line an occurrence, for people or for machines, with the ids of what was being handled."""

import io
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import structlog
from structlog.typing import ExcInfo

from shared.core.context import NO_CAUSE, current_cause
from shared.core.printable import printable


class Sparingly:
    """For lines that could fill a disk: the first is due at once, the next a period later, with the count of both."""

    def __init__(self, period: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._due_at = clock()
        self._times = 0

    def now(self) -> int:
        """It has happened: how often since the last line, if a line is due, else 0."""
        self._times += 1
        if self._clock() < self._due_at:
            return 0
        times, self._times = self._times, 0
        self._due_at = self._clock() + self._period
        return times


def configure_logging(service: str, level: str = "info", format: str = "json") -> None:  # noqa: A002 - what it is
    """Sends the process's log lines, those of libraries included, to standard output.

    `level` is debug, info, warning or error; `format` is console or json.
    """
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
        else [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=_indented_traceback)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer]
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for library in ("asyncio", "nats", "uvicorn.access", "alembic"):
        logging.getLogger(library).setLevel("WARNING")
    logging.getLogger("uvicorn.error").setLevel("ERROR")  # below are lines that any client could fill a disk with


def _ids(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    cause = current_cause()
    if cause is not NO_CAUSE:
        event.setdefault("correlation_id", cause.correlation_id)
        event.setdefault("request_id", cause.id)
        event.setdefault("causation_id", cause.causation_id)
    return event


def _one_line(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """What a client sends must not look like a line of its own, nor act on a terminal; JSON escapes it anyway."""
    event["event"] = str(event["event"])
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _indented_traceback(output: TextIO, error: ExcInfo) -> None:
    """Of several lines, none of which looks like a line of the log: an error's text may be a client's."""
    traceback = io.StringIO()
    structlog.dev.plain_traceback(traceback, error)
    output.write("\n  ".join(map(printable, traceback.getvalue().split("\n"))))
