"""The request or message that is being handled, with its three ids.

The ids are stored with every event, sent with every message and logged on every line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Cause:
    """The request or message that is being handled.

    `correlation_id` is the same for everything that follows from a first request, `id` is the request's or message's
    own, and `causation_id` is the id of what caused it. `traceparent` is its place in a trace (W3C Trace Context). An
    event of another service also has a `sequence`, its aggregate's version, and an `occurred_at`: projections use both.
    """

    correlation_id: str
    id: str
    causation_id: str
    traceparent: str | None = None
    sequence: int | None = None
    occurred_at: datetime | None = None


NO_CAUSE = Cause("", "", "")
_current: ContextVar[Cause] = ContextVar("cause", default=NO_CAUSE)


def current_cause() -> Cause:
    """Return the request or message that is being handled, or `NO_CAUSE`."""
    return _current.get()


@contextmanager
def handling(cause: Cause) -> Iterator[None]:
    """Make `cause` the current one inside the block."""
    token = _current.set(cause)
    try:
        yield
    finally:
        _current.reset(token)
