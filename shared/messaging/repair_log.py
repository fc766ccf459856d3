"""What operators have done by hand to messages and sagas: written in the transaction of what they did."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from shared.core.serialization import Json


class Action(StrEnum):
    """What can be done to a parked message, and to a saga."""

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
    """The repairs in one database, in one transaction. None is ever changed or deleted."""

    async def add(self, repairs: Sequence[Repair]) -> None:
        """Write them down."""

    async def latest(self, actions: Collection[Action], subject: str | None, limit: int) -> Sequence[Repair]:
        """Return the newest of these actions, the newest first; of one message or saga, if it is named."""
