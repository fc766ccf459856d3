"""The journal of a unit of work: what is to be written, in the order in which it came about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shared.core.messages import Event
from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import Snapshot, StoredEvent
from shared.messaging.envelope import Envelope
from shared.messaging.inbox import Claim, KeptReply
from shared.messaging.set_aside import SetAsideChange


@dataclass(frozen=True, slots=True)
class EventRecorded:
    """An aggregate's event; its envelope, if other services may know of it.

    `snapshot`, where one is due, gives the aggregate as it is when the journal is written.
    """

    stored: StoredEvent
    event: Event
    envelope: Envelope | None
    snapshot: Callable[[], Snapshot] | None
    undo: Callable[[], None]


@dataclass(frozen=True, slots=True)
class RowChanged:
    """A row's new state."""

    row: Entity
    undo: Callable[[], None]


Entry = EventRecorded | RowChanged | Envelope | Claim | KeptReply | SetAsideChange


class Journal:
    """A list with a mark up to which it has been written to the database."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.written = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        self._entries.append(entry)

    def back_to(self, mark: int) -> None:
        """Drop the entries since the journal was `mark` long, the newest first."""
        while len(self._entries) > mark:
            entry = self._entries.pop()
            if isinstance(entry, EventRecorded | RowChanged):
                entry.undo()

    def close(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def messages_since(self, mark: int) -> Iterator[Envelope]:
        """Return those that are to be sent of what came after the journal was `mark` long."""
        for entry in self._entries[mark:]:
            envelope = entry.envelope if isinstance(entry, EventRecorded) else entry
            if isinstance(envelope, Envelope):
                yield envelope

    def unwritten(self) -> Sequence[Entry]:
        """Return what has not been written yet."""
        return self._entries[self.written :]

    def entries(self) -> Sequence[Entry]:
        """Return all of it."""
        return self._entries
