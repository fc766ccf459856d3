"""The journal of a unit of work: what is to be written, in the order in which it happened."""

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
    """An event of an aggregate, with its envelope if it is public.

    `snapshot`, where one is due, returns the aggregate as it is when the journal is written.
    """

    stored: StoredEvent
    event: Event
    envelope: Envelope | None
    snapshot: Callable[[], Snapshot] | None
    undo: Callable[[], None]


@dataclass(frozen=True, slots=True)
class RowChanged:
    """The new state of a row."""

    row: Entity
    undo: Callable[[], None]


Entry = EventRecorded | RowChanged | Envelope | Claim | KeptReply | SetAsideChange


class Journal:
    """A list of entries, with the number of those that have been written to the database."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.written = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        self._entries.append(entry)

    def back_to(self, mark: int) -> None:
        """Remove and undo the entries since the journal was `mark` long, the newest first."""
        while len(self._entries) > mark:
            entry = self._entries.pop()
            if isinstance(entry, EventRecorded | RowChanged):
                entry.undo()

    def close(self) -> None:
        """Clear all entries."""
        self._entries.clear()

    def messages_since(self, mark: int) -> Iterator[Envelope]:
        """Yield the messages to send from the entries since the journal was `mark` long."""
        for entry in self._entries[mark:]:
            envelope = entry.envelope if isinstance(entry, EventRecorded) else entry
            if isinstance(envelope, Envelope):
                yield envelope

    def unwritten(self) -> Sequence[Entry]:
        """Return the entries that have not been written yet."""
        return self._entries[self.written :]

    def entries(self) -> Sequence[Entry]:
        """Return all entries."""
        return self._entries
