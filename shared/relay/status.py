"""What the outside can know of a relay: metrics, readiness, and one log line a change."""

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

    `waiting_for` is why it doesn't publish; None while it does. With `stands_by` nothing is wrong about that: another
    relay does, and this one takes its place when that ends.
    """

    def __init__(self, service: str, database: str) -> None:
        self.waiting_for: str | None = "it has not started yet"
        self.stands_by = False
        self._log = structlog.get_logger().bind(relay=service, database=database)
        self._told: set[str] = set()  # since it last published
        self._has_published = False  # until then there is nothing odd about waiting
        self._behind_since: float | None = None  # of the steady clock
        self._connected = CONNECTED.labels(database)
        self._lag_bytes = LAG_BYTES.labels(database)
        self._published = PUBLISHED.labels(database)
        self._refused = REFUSED.labels(database)
        self._rebuilt = SLOT_REBUILT.labels(database)
        self._tail_lost = TAIL_LOST.labels(database)
        LAG_SECONDS.labels(database).set_function(self._lag_seconds)

    def publishes(self) -> bool:
        """Whether it does, rather than waiting for something."""
        return self.waiting_for is None

    def connected(self) -> None:
        """It has taken the slot and checked the stream."""
        self._log.info("relay publishes")
        self._told.clear()
        self._has_published = True
        self.waiting_for, self.stands_by = None, False
        self._connected.set(1)

    def waiting(self, reason: str) -> None:
        """It can't publish; tried again and again, so each reason is logged once, whatever numbers are in it."""
        if self.waiting_for is None:
            self._behind_since = self._behind_since or time.monotonic()
        if self._is_new(reason):
            self._log.log(WARNING if self._has_published else INFO, "relay waits", reason=reason)
        self.waiting_for, self.stands_by = reason, False
        self._connected.set(0)

    def standing_by(self, reason: str) -> None:
        """Another relay has the slot: it may be about to lose it, and if not it knows itself how far behind it is."""
        if self._is_new(reason):
            self._log.info("relay stands by", reason=reason)
        self._behind_since = None
        self.waiting_for, self.stands_by = reason, True
        self._connected.set(0)

    def stopping(self) -> None:
        """It ends when what is on its way has been acknowledged."""
        self.waiting_for, self.stands_by = "it is stopping", False

    def stopped(self) -> None:
        """It has ended in good order."""
        self._log.info("relay stopped")
        self.waiting_for = "it has been stopped"
        self._connected.set(0)

    def behind(self, since: datetime | None) -> None:
        """There is something to publish that was committed at this time, if that is known already."""
        now = time.monotonic()
        if since is not None:
            self._behind_since = now - max(0.0, (utc_now() - since).total_seconds())
        else:
            self._behind_since = self._behind_since or now

    def caught_up(self) -> None:
        """There is nothing more to publish."""
        self._behind_since = None

    def lag(self, lag_bytes: int) -> None:
        """So much log is kept for it."""
        self._lag_bytes.set(lag_bytes)

    def published(self, rows: int) -> None:
        """The broker has acknowledged so many rows."""
        self._published.inc(rows)

    def refused(self, row_id: int, subject: str, size: int) -> None:
        """A row that the broker will never accept was passed over: it stays in the outbox until its retention ends."""
        self._log.error(
            "a message was not published: the broker will never accept it", row_id=row_id, subject=subject, bytes=size
        )
        self._refused.inc()

    def slot_made(self, rows: int, *, first: bool) -> None:
        """The slot was made, for the first time or again, and what it would have missed was published."""
        if first:
            self._log.info("replication slot made", rows_published=rows)
        else:
            self._log.warning("replication slot was missing or lost: made again", rows_published=rows)
            self._rebuilt.inc()

    def tail_lost(self, since: datetime | None) -> None:
        """The broker has lost messages; what was created since is about to be published again."""
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
