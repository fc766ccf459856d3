"""The time, as a function that tests can replace.

Stored times come from the wall clock, which may be set forward or back by hours at any moment. Pauses within one
process are measured with a steady clock, which cannot be set.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the wall clock's time, in UTC."""
    return datetime.now(UTC)


class SteadyClock:
    """A clock that starts at the wall clock's time and does not change when the wall clock is set.

    For pauses within one process: its times mean nothing to another process.
    """

    def __init__(self) -> None:
        self._begun = utc_now() - timedelta(seconds=time.monotonic())

    def __call__(self) -> datetime:
        return self._begun + timedelta(seconds=time.monotonic())


@dataclass(frozen=True, slots=True)
class Due:
    """Decides which stored times have come, when no pause is longer than `longest`.

    A time further ahead than `longest` was written before the clock was set back. It counts as come: otherwise the work
    would wait for as long as the clock was set back.
    """

    now: datetime
    longest: timedelta

    @property
    def latest(self) -> datetime:
        """The latest time that can still lie ahead."""
        return self.now + self.longest

    def has_come(self, at: datetime) -> bool:
        """Return whether the time `at` has come."""
        return not self.now < at <= self.latest
