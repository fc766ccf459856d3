"""Messages that could not be handled when they came: they are set aside in order, and the others go on.

Later messages of the same sender about the same key wait in line behind it. Messages of other senders about that key go
on: they were never in a certain order with it, and may bring just what it waits for. A message that fails too often is
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
    """The messages of one sender about one key: they keep their order."""

    key: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """A waiting message. `attempts` counts its failures, without the tries that found something not yet known."""

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
    """The message waits from now on."""

    message: SetAside


@dataclass(frozen=True, slots=True)
class PutBack:
    """The message goes on waiting: its attempts, set_aside_at, retry_at, parked_at and error have changed."""

    message: SetAside


@dataclass(frozen=True, slots=True)
class TakenUp:
    """The message no longer waits."""

    message: SetAside


SetAsideChange = PutAside | PutBack | TakenUp


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A message that waits for an operator, and how many of its line wait behind it."""

    message: SetAside
    behind: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedFilter:
    """Selects parked messages. A field that is None matches all; `error` is a part of the error, in any letter case."""

    message_id: str | None = None
    key: str | None = None
    type: str | None = None
    error: str | None = None


class WaitingRoom(Protocol):
    """The set-aside messages of one database, in one transaction."""

    async def blocked(self, lines: Sequence[Line]) -> set[Line]:
        """Return which of the lines have a waiting message."""

    async def heads(self, partition: int, due: Due, limit: int) -> Sequence[SetAside]:
        """Return the first message of each line if it is due and not parked, the longest due first.

        At most `limit`, and no more than fit into memory.
        """

    async def next_due(self, partition: int, due: Due) -> datetime | None:
        """Return when the next first message of a line is due, at the earliest now; None if there is none."""

    async def write(self, changes: Sequence[SetAsideChange]) -> None:
        """Carry out the changes in order."""

    async def is_empty(self) -> bool:
        """Return whether no message waits."""

    async def is_crowded(self, number: int) -> bool:
        """Return whether at least `number` messages are parked or wait behind parked ones."""

    async def parked(self, wanted: ParkedFilter, limit: int) -> Sequence[Parked]:
        """Return the first messages that wait for an operator, in order."""

    async def hold_parked(self, message_id: str) -> SetAside | None:
        """Return and lock the parked message of that id: nobody else can redrive or drop it in this transaction."""

    async def line(self, line: Line, limit: int) -> Sequence[SetAside]:
        """Return the first messages of a line, in order."""

    async def redrive(self, line: Line, now: datetime) -> int:
        """Make a parked line due again from its first message; return how many of its messages wait."""
