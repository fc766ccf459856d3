"""The transactional outbox: messages are stored in the transaction of the change that they report.

Microservices Patterns, section 3.3.7.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.core.context import current_cause
from shared.core.ids import new_id
from shared.core.messages import AnyCommand, Event
from shared.core.serialization import to_json
from shared.eventsourcing.store import StoredEvent
from shared.messaging.envelope import Envelope, MessageTooLarge


class OutboxStore(Protocol):
    """The outbox of one database, in one transaction. A relay publishes its rows in the order of their commits."""

    async def add(self, messages: Sequence[Envelope]) -> None:
        """Write messages in this order."""


def new_envelope(message: Event | AnyCommand, now: datetime) -> Envelope:
    """Return a new message as it is sent, with the ids of what is being handled; if nothing is, it is its own cause.

    Raises TypeError for a message that is not public, or has no key, and MessageTooLarge.
    """
    if not message.is_public:
        raise TypeError(f"{message.type_name} is not public: declare it in a module `contracts`, or with service=")
    cause, id_ = current_cause(), new_id()
    envelope = Envelope(
        id=id_,
        type=message.type_name,
        kind="event" if isinstance(message, Event) else "command",
        source=message.type_name.partition(".")[0],
        key=message.key,
        data=to_json(message),
        time=now,
        correlation_id=cause.correlation_id or id_,
        causation_id=cause.id or id_,
        schema=message.schema,
        traceparent=cause.traceparent,
    )
    if envelope.is_too_large:
        raise MessageTooLarge
    return envelope


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
