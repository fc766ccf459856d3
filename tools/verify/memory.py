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
    """One service's state, read from its memory database."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def events(self) -> AsyncIterator[StoredEvent]:
        """All events by aggregate, id and version."""
        for _, events in sorted(self._database.events.items()):
            for event in events:
                yield event

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """All snapshots."""
        for snapshot in self._database.snapshots.values():
            yield snapshot

    async def rows(self, cls: type[R]) -> AsyncIterator[R]:
        """A whole table by id."""
        for _, row in sorted(self._database.tables[cls].items()):
            yield cast(R, row)

    async def outbox(self) -> AsyncIterator[Sent]:
        """What has been sent, as far as it is still kept in the outbox and in the stream."""
        for publication in self._database.outbox:
            yield _sent(publication.row_id, publication.subject, publication.headers)

    async def set_aside(self) -> AsyncIterator[SetAside]:
        """Messages that were set aside."""
        for message in sorted(self._database.waiting.values(), key=attrgetter("seq")):
            yield message

    async def missing(self) -> Sequence[Missing]:
        """Messages that the service has found to be lost for good."""
        return self._database.missing

    async def claimed(self, message_ids: Collection[str]) -> set[str]:
        """Those of the given messages that are in the inbox."""
        return self._database.inbox.keys() & set(message_ids)


class MemorySystemState:
    """The state of all services, and of the messages between them, in memory."""

    def __init__(self, databases: Mapping[str, MemoryDatabase], broker: MemoryBroker) -> None:
        self.services = {name: MemoryServiceState(database) for name, database in databases.items()}
        self._databases = databases
        self._broker = broker

    async def stream(self) -> AsyncIterator[Sent]:
        """What has been published, as far as it is still kept."""
        for position in range(1, self._broker.bounds().last + 1):
            if stored := self._broker.stored_at(position):
                subject, message = stored
                yield _sent(message.row_id, subject, message.headers)

    async def pending(self, service: str) -> int:
        """The number of messages in the stream that the service has not read yet."""
        mark = self._databases[service].positions.get(_PARTITION)
        wanted = {subject_of(_PARTITION, route) for route in model_of(service).routes}
        behind = self._broker.subjects_behind(mark.position if mark else 0)
        return sum(subject in wanted for subject in behind)


def _sent(row_id: str, subject: str, headers: Mapping[str, str]) -> Sent:
    return Sent(row_id, headers.get("ce-id", row_id), subject.partition(".")[2])
