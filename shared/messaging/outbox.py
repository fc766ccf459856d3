"""The transactional outbox: what is to be published is written with what it tells of. Microservices Patterns, 3.3.7."""

from collections.abc import Sequence
from typing import Protocol

from shared.core.messages import Event
from shared.eventsourcing.store import StoredEvent
from shared.messaging.envelope import Envelope


class Outbox(Protocol):
    """The outbox of one database, in one transaction. A relay publishes its rows in the order of their commits."""

    async def add(self, messages: Sequence[Envelope]) -> None:
        """Write them in this order."""


def event_envelope(stored: StoredEvent, event: Event, traceparent: str | None) -> Envelope:
    """Return a public event as it is sent."""
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
