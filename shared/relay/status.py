"""What is shown of a relay: metrics, readiness, and one log line per change."""

import re
import time
from datetime import datetime
from logging import INFO, WARNING

import structlog
from prometheus_client import Counter, Gauge

from shared.core.clock import utc_now

_LABELS = ["database"]
CONNECTED = Gauge("relay_connected", "1 while the relay publishes, 0 while it waits for something", _LABELS)
LAG_BYTES = Gauge("relay_lag_bytes", "Write-ahead log that PostgreSQL keeps for the relay", _LABELS)
LAG_SECONDS = Gauge("relay_lag_seconds", "Age of the oldest commit that is known and not published", _LABELS)
PUBLISHED = Counter("relay_published", "Outbox rows stored by the broker, repeats included", _LABELS)
REFUSED = Counter("relay_refused", "Outbox rows that the broker will never accept: they were passed over", _LABELS)
SLOT_REBUILT = Counter(
    "relay_slot_rebuilt", "Times the replication slot was missing or lost and was made again", _LABELS
)
TAIL_LOST = Counter("relay_broker_tail_lost", "Times the broker had lost messages that it had acknowledged", _LABELS)


class RelayStatus:
    """The state of one database's relay.

    `waiting_for` is why it doesn't publish; None while it does. With `stands_by` that is as it should be: another relay
    publishes, and this one takes over when the other one ends.
    """

    def __init__(self, service: str, database: str) -> None:
        self.waiting_for: str | None = "it has not started yet"
        self.stands_by = False
        self._log = structlog.get_logger().bind(relay=service, database=database)
        self._told: set[str] = set()  # since it last published
        self._has_published = False  # until then waiting is normal
        self._behind_since: float | None = None  # by the monotonic clock
        self._connected = CONNECTED.labels(database)
        self._lag_bytes = LAG_BYTES.labels(database)
        self._published = PUBLISHED.labels(database)
        self._refused = REFUSED.labels(database)
        self._rebuilt = SLOT_REBUILT.labels(database)
        self._tail_lost = TAIL_LOST.labels(database)
        LAG_SECONDS.labels(database).set_function(self._lag_seconds)

    def publishes(self) -> bool:
        """Return whether the relay publishes now."""
        return self.waiting_for is None

    def connected(self) -> None:
        """Note that the relay has taken the slot and checked the stream."""
        self._log.info("relay publishes")
        self._told.clear()
        self._has_published = True
        self.waiting_for, self.stands_by = None, False
        self._connected.set(1)

    def waiting(self, reason: str) -> None:
        """Note why the relay cannot publish. Each reason is logged once, whatever its numbers."""
        if self.waiting_for is None:
            self._behind_since = self._behind_since or time.monotonic()
        if self._is_new(reason):
            self._log.log(WARNING if self._has_published else INFO, "relay waits", reason=reason)
        self.waiting_for, self.stands_by = reason, False
        self._connected.set(0)

    def standing_by(self, reason: str) -> None:
        """Note that another relay has the slot: that one tells how far behind it is."""
        if self._is_new(reason):
            self._log.info("relay stands by", reason=reason)
        self._behind_since = None
        self.waiting_for, self.stands_by = reason, True
        self._connected.set(0)

    def stopping(self) -> None:
        """Note that the relay ends as soon as what is on its way has been acknowledged."""
        self.waiting_for, self.stands_by = "it is stopping", False

    def stopped(self) -> None:
        """Note that the relay has ended in good order."""
        self._log.info("relay stopped")
        self.waiting_for = "it has been stopped"
        self._connected.set(0)

    def behind(self, since: datetime | None) -> None:
        """Note that there is something to publish, committed at this time if that is known already."""
        now = time.monotonic()
        if since is not None:
            self._behind_since = now - max(0.0, (utc_now() - since).total_seconds())
        else:
            self._behind_since = self._behind_since or now

    def caught_up(self) -> None:
        """Note that there is nothing more to publish."""
        self._behind_since = None

    def lag(self, lag_bytes: int) -> None:
        """Note how much log PostgreSQL keeps for the relay."""
        self._lag_bytes.set(lag_bytes)

    def published(self, rows: int) -> None:
        """Note how many rows the broker has acknowledged."""
        self._published.inc(rows)

    def refused(self, row_id: int, subject: str, size: int) -> None:
        """Note that a row was passed over because the broker will never accept it. It stays in the outbox for now."""
        self._log.error(
            "a message was not published: the broker will never accept it", row_id=row_id, subject=subject, bytes=size
        )
        self._refused.inc()

    def slot_made(self, rows: int, *, first: bool) -> None:
        """Note that the slot was made, for the first time or again, and that what was before it has been published."""
        if first:
            self._log.info("replication slot made", rows_published=rows)
        else:
            self._log.warning("replication slot was missing or lost: made again", rows_published=rows)
            self._rebuilt.inc()

    def tail_lost(self, since: datetime | None) -> None:
        """Note that the broker has lost messages; what was created since is about to be published again."""
        self._log.error(
            "the broker has lost messages that it had acknowledged: publishing again",
            created_since=None if since is None else since.isoformat(),
        )
        self._tail_lost.inc()

    def _is_new(self, reason: str) -> bool:
        kind = re.sub(r"\d+", "#", reason)
        known = kind in self._told
        self._told.add(kind)
        return not known

    def _lag_seconds(self) -> float:
        return 0.0 if self._behind_since is None else time.monotonic() - self._behind_since
