"""The transactional outbox: messages are stored in the transaction of the change that they report.

Microservices Patterns, section 3.3.7.
"""

from collections.abc import Sequence
from typing import Protocol

from shared.core.messages import Event
from shared.eventsourcing.store import StoredEvent
from shared.messaging.envelope import Envelope


class Outbox(Protocol):
    """The outbox of one database, in one transaction. A relay publishes its rows in the order of their commits."""

    async def add(self, messages: Sequence[Envelope]) -> None:
        """Store the messages in this order."""


def event_envelope(stored: StoredEvent, event: Event, traceparent: str | None) -> Envelope:
    """Return the envelope of a public event."""
    return Envelope(
        id=stored.metadata.id,
        type=stored.type,
        kind="event",
        source=stored.type.partition(".")[0],
        key=event.key,
        data=stored.data,
        time=stored.occurred_at,
        correlation_id=stored.metadata.correlation_id,
        causation_id=stored.metadata.causation_id,
        schema=stored.metadata.schema,
        subject=stored.id,
        sequence=stored.version,
        traceparent=traceparent,
    )
