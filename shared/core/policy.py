"""How patient a service is: with messages that can't be handled yet, and with sagas that get no answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.core.clock import Due

_LONGEST_RETRY = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The durations and numbers of tries that `ServiceSettings` documents."""

    grace: timedelta = timedelta(seconds=5)
    retry: timedelta = timedelta(seconds=0.5)
    attempts: int = 5
    step_timeout: timedelta = timedelta(seconds=30)
    longest_step_timeout: timedelta = timedelta(minutes=10)
    saga_attempts: int = 8

    def messages_due(self, now: datetime) -> Due:
        """Which times of set-aside messages have come."""
        return Due(now, max(_LONGEST_RETRY, self.grace))

    def sagas_due(self, now: datetime) -> Due:
        """Which times of sagas have come."""
        return Due(now, max(_LONGEST_RETRY, self.longest_step_timeout))

    def retry_after(self, failures: int) -> timedelta:
        """The pause after that many failures: it doubles, up to a minute."""
        return min(self.retry * (1 << min(failures - 1, 16)), _LONGEST_RETRY)

    def is_patient_after(self, failures: int) -> bool:
        """Whether the grace period lasts on after that many failures and the pauses between them."""
        return sum((self.retry_after(failure) for failure in range(1, failures + 1)), timedelta()) < self.grace

    def resend_after(self, resends: int) -> timedelta:
        """The wait for a reply after that many resends of its command: it doubles, up to `longest_step_timeout`."""
        return min(self.step_timeout * (1 << min(resends, 16)), self.longest_step_timeout)
