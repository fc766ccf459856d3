"""The time, as something that tests can set. What is stored is dated by the wall clock, which may be set at any moment:
by hours, forward and back. What one process waits for goes by a clock that nobody sets."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class SteadyClock:
    """Begins with the wall clock's time, and goes on whatever that is set to. For the pauses of one process: its times
    mean nothing to another."""

    def __init__(self) -> None:
        self._begun = utc_now() - timedelta(seconds=time.monotonic())

    def __call__(self) -> datetime:
        return self._begun + timedelta(seconds=time.monotonic())


@dataclass(frozen=True, slots=True)
class Due:
    """Which stored times have come, when no pause is longer than `longest`.

    A time that lies further ahead was written by a clock that has been set back since. It has come too: what waits
    would else wait for as long as that step was.
    """

    now: datetime
    longest: timedelta

    @property
    def latest(self) -> datetime:
        """The latest time that can lie ahead."""
        return self.now + self.longest

    def has_come(self, at: datetime) -> bool:
        """Whether it has."""
        return not self.now < at <= self.latest
