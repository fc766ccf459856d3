"""Messages that could not be handled when they came: set aside in order, so that the others go on.

What the same sender says later of the same key waits in line behind it. What others say of that key goes on: it has
never been in a certain order with this, and may be just what a message waits for. A message that fails too often is
parked for an operator, and its line waits with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.core.clock import Due
from shared.messaging.envelope import Received


@dataclass(frozen=True, slots=True)
class Line:
    """What one sender says of one key: its messages keep their order."""

    key: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """A waiting message. `attempts` counts its failures, waiting for something unknown not included."""

    seq: int = 0
    partition: int
    line: Line
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
    """It waits on: its attempts, set_aside_at, retry_at, parked_at and error have changed."""

    message: SetAside


@dataclass(frozen=True, slots=True)
class TakenUp:
    """It waits no longer."""

    message: SetAside


SetAsideChange = PutAside | PutBack | TakenUp


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A message that waits for an operator, and how many of its line wait behind it."""

    message: SetAside
    behind: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedFilter:
    """Which parked messages are meant. What is None leaves it open; `error` is a part of the error, in any case."""

    message_id: str | None = None
    key: str | None = None
    type: str | None = None
    error: str | None = None


class WaitingRoom(Protocol):
    """The set-aside messages of one database, in one transaction."""

    async def blocked(self, lines: Sequence[Line]) -> set[Line]:
        """Return those of the lines that have a message waiting."""

    async def heads(self, partition: int, due: Due, limit: int) -> Sequence[SetAside]:
        """Return the first message of each line, where it is due and not parked; the longest due first.

        Not more of them than fit into memory.
        """

    async def next_due(self, partition: int, due: Due) -> datetime | None:
        """Return when the next head is due: now at the earliest."""

    async def write(self, changes: Sequence[SetAsideChange]) -> None:
        """Carry the changes out in order."""

    async def is_empty(self) -> bool:
        """Return whether no message waits."""

    async def is_crowded(self, number: int) -> bool:
        """Return whether so many messages are parked, or wait behind those."""

    async def parked(self, wanted: ParkedFilter, limit: int) -> Sequence[Parked]:
        """Return the first messages that wait for an operator, in order."""

    async def hold_parked(self, message_id: str) -> SetAside | None:
        """Return the parked message of that id: nobody else redrives or drops it until the transaction ends."""

    async def line(self, line: Line, limit: int) -> Sequence[SetAside]:
        """Return the first messages of a line, in order."""

    async def redrive(self, line: Line, now: datetime) -> int:
        """Make a parked line due again from its first message; answers how many messages of it wait."""
