"""The repair log: what operators have done to messages and sagas, stored in the transaction of the repair."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from shared.core.serialization import Json


class Action(StrEnum):
    """What an operator can do to a parked message or a saga."""

    REDRIVE = "redrive"
    DROP = "drop"
    RESUME = "resume"
    RETRY = "retry"


ON_MESSAGES = frozenset({Action.REDRIVE, Action.DROP})
ON_SAGAS = frozenset({Action.RESUME, Action.RETRY})


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """Who did what to which message or saga (`subject` is its id), when and why; `details` is how it was before."""

    at: datetime
    operator: str
    action: Action
    subject: str
    type: str
    key: str
    reason: str
    details: Json


class RepairLog(Protocol):
    """The repairs in one database, in one transaction. A repair is never changed or deleted."""

    async def add(self, repairs: Sequence[Repair]) -> None:
        """Store repairs."""

    async def latest(self, actions: Collection[Action], subject: str | None, limit: int) -> Sequence[Repair]:
        """Return the latest repairs with these actions, the newest first; `subject` None means any."""
