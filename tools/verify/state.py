"""A system's state as the invariants see it: read only, row by row. In memory, and in PostgreSQL and NATS."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import Snapshot, StoredEvent
from shared.messaging.chain import Missing
from shared.messaging.set_aside import SetAside

R = TypeVar("R", bound=Entity)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message in an outbox or in the stream. `row_id` is what its relay publishes the outbox row under."""

    row_id: str
    message_id: str
    route: str


class ServiceState(Protocol):
    """One service's database. Ids are in the order of their code points, so that two services can be read side by
    side."""

    def events(self) -> AsyncIterator[StoredEvent]:
        """All events by aggregate, id and version."""

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """All snapshots."""

    def rows(self, cls: type[R]) -> AsyncIterator[R]:
        """A whole table by id."""

    def outbox(self) -> AsyncIterator[Sent]:
        """What has been sent, as far as it is kept there and in the stream."""

    def set_aside(self) -> AsyncIterator[SetAside]:
        """What waits."""

    async def missing(self) -> Sequence[Missing]:
        """What the service has found to be lost for good."""

    async def claimed(self, message_ids: Collection[str]) -> set[str]:
        """Those of the messages that the inbox has."""


class SystemState(Protocol):
    """All services, and what is between them."""

    @property
    def services(self) -> Mapping[str, ServiceState]:
        """By name."""

    def stream(self) -> AsyncIterator[Sent]:
        """What has been published, as far as it is kept."""

    async def pending(self, service: str) -> int:
        """How many messages in the stream the service has not come to yet."""
