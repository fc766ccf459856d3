"""The state of a system in memory."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar, cast

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase
from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import Snapshot, StoredEvent
from shared.messaging.broker import subject_of
from shared.messaging.chain import Missing
from shared.messaging.set_aside import SetAside
from tools.verify.models import model_of
from tools.verify.state import Sent

R = TypeVar("R", bound=Entity)

_PARTITION = 0


class MemoryServiceState:
    """See `state.ServiceState`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def events(self) -> AsyncIterator[StoredEvent]:
        """See `state.ServiceState`."""
        for _, events in sorted(self._database.events.items()):
            for event in events:
                yield event

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See `state.ServiceState`."""
        for snapshot in self._database.snapshots.values():
            yield snapshot

    async def rows(self, cls: type[R]) -> AsyncIterator[R]:
        """See `state.ServiceState`."""
        for _, row in sorted(self._database.tables[cls].items()):
            yield cast(R, row)

    async def outbox(self) -> AsyncIterator[Sent]:
        """See `state.ServiceState`."""
        for publication in self._database.outbox:
            yield _sent(publication.row_id, publication.subject, publication.headers)

    async def set_aside(self) -> AsyncIterator[SetAside]:
        """See `state.ServiceState`."""
        for message in sorted(self._database.waiting.values(), key=attrgetter("seq")):
            yield message

    async def missing(self) -> Sequence[Missing]:
        """See `state.ServiceState`."""
        return self._database.missing

    async def claimed(self, message_ids: Collection[str]) -> set[str]:
        """See `state.ServiceState`."""
        return self._database.inbox.keys() & set(message_ids)


class MemorySystemState:
    """See `state.SystemState`."""

    def __init__(self, databases: Mapping[str, MemoryDatabase], broker: MemoryBroker) -> None:
        self.services = {name: MemoryServiceState(database) for name, database in databases.items()}
        self._databases = databases
        self._broker = broker

    async def stream(self) -> AsyncIterator[Sent]:
        """See `state.SystemState`."""
        for position in range(1, self._broker.bounds().last + 1):
            if stored := self._broker.stored_at(position):
                subject, message = stored
                yield _sent(message.row_id, subject, message.headers)

    async def pending(self, service: str) -> int:
        """See `state.SystemState`."""
        mark = self._databases[service].positions.get(_PARTITION)
        wanted = {subject_of(_PARTITION, route) for route in model_of(service).routes}
        behind = self._broker.subjects_behind(mark.position if mark else 0)
        return sum(subject in wanted for subject in behind)


def _sent(row_id: str, subject: str, headers: Mapping[str, str]) -> Sent:
    return Sent(row_id, headers.get("ce-id", row_id), subject.partition(".")[2])
