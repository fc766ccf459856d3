"""A running saga, as it is stored between its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.core.clock import Due
from shared.core.serialization import Json
from shared.eventsourcing.aggregate import Entity
from shared.saga.machine import Phase, Position


@dataclass(kw_only=True)
class SagaInstance(Entity):
    """The stored state of a saga. `data` is the saga's own fields.

    While it waits for a reply, `awaiting` is the id of the command that it sent. `due_at` is when it acts even if no
    message comes: it sends the command again, or tries the step again. `attempts` counts the refusals of the current
    step, `resends` the repeats of the current command.
    """

    type: str
    key: str
    data: Json
    step: int
    phase: Phase
    awaiting: str | None = None
    command: str = ""
    attempts: int = 0
    resends: int = 0
    due_at: datetime | None = None
    stuck: bool = False
    error: str = ""
    correlation_id: str
    started_at: datetime
    updated_at: datetime

    @property
    def position(self) -> Position:
        """The step that the saga is at, and its phase."""
        return Position(self.step, self.phase)

    def move_to(self, position: Position) -> None:
        """Move to another position, with its attempts counted from 0."""
        self.step, self.phase = position.step, position.phase
        self.attempts = 0
        self.wait_for_nothing()

    def wait_for_nothing(self) -> None:
        """Clear the expected reply and the timer."""
        self.awaiting, self.command, self.resends, self.due_at, self.stuck = None, "", 0, None, False


@dataclass(frozen=True, kw_only=True, slots=True)
class SagaFilter:
    """Selects unfinished sagas. A field that is None matches all; `error` is a part of the error, in any case."""

    id: str | None = None
    stuck: bool | None = None
    type: str | None = None
    error: str | None = None


class SagaTimers(Protocol):
    """The due times of sagas, in one transaction."""

    async def due(self, due: Due, limit: int) -> Sequence[tuple[str, str]]:
        """Return the id and correlation id of the sagas that are due, the longest due first."""

    async def next_due(self, due: Due) -> datetime | None:
        """Return when the next saga is due, at the earliest now; None if no saga has a due time."""

    async def unfinished(self, wanted: SagaFilter, limit: int) -> Sequence[SagaInstance]:
        """Return the first sagas that have not ended, the oldest first."""
