"""A saga on its way, as it is stored between its steps."""

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
    """`data` is the saga's own fields. While it waits for a reply, `awaiting` is the id of the command it sent.

    `due_at` is when something must happen though no message comes: a resend of the command, or another try of the
    step. `attempts` counts the refusals of the present step, `resends` the repeats of the present command.
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
        """Where it stands."""
        return Position(self.step, self.phase)

    def move_to(self, position: Position) -> None:
        """It stands elsewhere now, and has not been refused there yet."""
        self.step, self.phase = position.step, position.phase
        self.attempts = 0
        self.wait_for_nothing()

    def wait_for_nothing(self) -> None:
        """No reply and no timer is expected."""
        self.awaiting, self.command, self.resends, self.due_at, self.stuck = None, "", 0, None, False


@dataclass(frozen=True, kw_only=True, slots=True)
class SagaFilter:
    """Which unfinished sagas are meant. What is None leaves it open; `error` is a part of the error, in any case."""

    id: str | None = None
    stuck: bool | None = None
    type: str | None = None
    error: str | None = None


class SagaTimers(Protocol):
    """Which sagas need attention though no message comes, in one transaction."""

    async def due(self, due: Due, limit: int) -> Sequence[tuple[str, str]]:
        """Id and correlation id of those that are due, the longest due first."""

    async def next_due(self, due: Due) -> datetime | None:
        """Return when the next one is due: now at the earliest."""

    async def unfinished(self, wanted: SagaFilter, limit: int) -> Sequence[SagaInstance]:
        """Return the first of those that have not ended, the oldest first."""
