"""How often and how long a service tries again: messages that cannot be handled yet, and sagas that get no reply."""

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
        """Return which retry times of set-aside messages have come at `now`."""
        return Due(now, max(_LONGEST_RETRY, self.grace))

    def sagas_due(self, now: datetime) -> Due:
        """Return which due times of sagas have come at `now`."""
        return Due(now, max(_LONGEST_RETRY, self.longest_step_timeout))

    def retry_after(self, failures: int) -> timedelta:
        """Return the pause after that many failures: it doubles with each, up to a minute."""
        return min(self.retry * (1 << min(failures - 1, 16)), _LONGEST_RETRY)

    def is_patient_after(self, failures: int) -> bool:
        """Return whether the grace period has not ended after that many failures and the pauses between them."""
        return sum((self.retry_after(failure) for failure in range(1, failures + 1)), timedelta()) < self.grace

    def resend_after(self, resends: int) -> timedelta:
        """Return the wait for a reply after that many resends of its command.

        It doubles with each resend, up to `longest_step_timeout`.
        """
        return min(self.step_timeout * (1 << min(resends, 16)), self.longest_step_timeout)
