"""Messages that could not be handled when they came: set aside in order, so that the others go on.

The later messages of the same key wait behind the first. One that fails too often is parked for an operator, and its
key waits with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.messaging.envelope import Received


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """A waiting message. `attempts` counts its failures, waiting for something unknown not included."""

    seq: int = 0
    partition: int
    key: str
    message_id: str
    received: Received
    attempts: int = 0
    set_aside_at: datetime
    retry_at: datetime
    parked_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class PutAside:
    """It waits from now on."""

    message: SetAside


@dataclass(frozen=True, slots=True)
class PutBack:
    """It waits on: its attempts, retry_at, parked_at and error have changed."""

    message: SetAside


@dataclass(frozen=True, slots=True)
class TakenUp:
    """It waits no longer."""

    message: SetAside


SetAsideChange = PutAside | PutBack | TakenUp


class WaitingRoom(Protocol):
    """The set-aside messages of one database, in one transaction."""

    async def blocked(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that have a message waiting."""

    async def heads(self, partition: int, now: datetime, limit: int) -> Sequence[SetAside]:
        """The first message of each key, where it is due and not parked; the longest due first."""

    async def next_due(self, partition: int) -> datetime | None:
        """When the next head is due."""

    async def write(self, changes: Sequence[SetAsideChange]) -> None:
        """Carries the changes out in order."""

    async def parked(self) -> Sequence[SetAside]:
        """What waits for an operator, in order."""

    async def redrive(self, key: str, now: datetime) -> int:
        """Makes a parked key due again from its first message; answers how many messages of it wait."""
