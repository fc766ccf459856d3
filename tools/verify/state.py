"""A system's state as the invariants see it: read only, row by row. It can be in memory, or in PostgreSQL and NATS."""

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
    """A message in an outbox or in the stream. `row_id` is the id under which the relay publishes the outbox row."""

    row_id: str
    message_id: str
    route: str


class ServiceState(Protocol):
    """One service's database. Ids are in the order of their code points, so two services can be read in parallel."""

    def events(self) -> AsyncIterator[StoredEvent]:
        """All events by aggregate, id and version."""

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """All snapshots."""

    def rows(self, cls: type[R]) -> AsyncIterator[R]:
        """A whole table by id."""

    def outbox(self) -> AsyncIterator[Sent]:
        """What has been sent, as far as it is still kept in the outbox and in the stream."""

    def set_aside(self) -> AsyncIterator[SetAside]:
        """Messages that were set aside."""

    async def missing(self) -> Sequence[Missing]:
        """Messages that the service has found to be lost for good."""

    async def claimed(self, message_ids: Collection[str]) -> set[str]:
        """Those of the given messages that are in the inbox."""


class SystemState(Protocol):
    """The state of all services, and of the messages between them."""

    @property
    def services(self) -> Mapping[str, ServiceState]:
        """All services by name."""

    def stream(self) -> AsyncIterator[Sent]:
        """What has been published, as far as it is still kept."""

    async def pending(self, service: str) -> int:
        """The number of messages in the stream that the service has not read yet."""
