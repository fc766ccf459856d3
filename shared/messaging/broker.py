"""The broker as a log: one stream of messages, read from any position and never acknowledged.

Everything of a connection shares its fate: what raises `BrokerUnavailable` is closed, with all that hangs on it, and
opened anew at the position that its user knows to be safe. Nothing here reconnects by itself.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shared.core.errors import TechnicalFault
from shared.messaging.chain import SentBefore
from shared.messaging.envelope import Received


class BrokerUnavailable(TechnicalFault):
    """The broker can't be reached, doesn't answer, or skipped something. A technical fault: open anew and try again."""


class PartitionsDiffer(Exception):
    """This process counts partitions differently from the stream, so it would look for keys in the wrong place.

    Nothing that passes by waiting: the process should end with this message.
    """


@dataclass(frozen=True, slots=True)
class Bounds:
    """Positions of the stream's first and last message. Empty: `first == last + 1`; nothing ever stored: `1, 0`."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What identifies the message stored at a position: its outbox row's id and when the broker stored it."""

    position: int
    row_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A message as the relay publishes it. `row_id` is what the broker drops repeats by."""

    row_id: str
    subject: str
    headers: Mapping[str, str] = field(repr=False)
    data: str = field(repr=False)


class Feed(Protocol):
    """The messages behind a position, in stream order, each once."""

    @property
    def pending(self) -> int:
        """How many of them the stream had when the feed was opened, damaged ones that will never come included."""
        ...

    async def take(self, limit: int, wait: float) -> list[Received]:
        """What is there, up to `limit`; waits up to `wait` seconds for the first, then `[]`.

        Raises BrokerUnavailable as soon as it can't vouch for the order or completeness of what follows.
        """
        ...


class LogReader(Protocol):
    """The stream as a subscription sees it. All methods raise BrokerUnavailable."""

    async def bounds(self) -> Bounds:
        """The ends of the stream; positions are common to all partitions."""
        ...

    async def message_at(self, position: int) -> Mark | None:
        """The message stored at exactly that position; None if there is none."""
        ...

    def read(
        self, partition: int, *, after: int, filters: Sequence[str], to_end: bool = False
    ) -> AbstractAsyncContextManager[Feed]:
        """The messages of a partition behind `after` whose route is one of `filters` (`event.order.OrderCreated`).

        With `to_end` the feed ends with what was there when it was opened: nothing more comes when `take` returns `[]`.
        """
        ...

    async def sent_before(self, sender: str, reader: str, partition: int, row: int | None) -> SentBefore:
        """What a sender's relay has published for a reader up to a row of its outbox, that row included.

        Without a row: only which row was the last.
        """
        ...

    async def sent_again(self, sender: str, reader: str, rows: Sequence[int]) -> list[Received | None]:
        """Messages straight from a sender's outbox, in this order; None for those that it no longer keeps."""
        ...


class Publisher(Protocol):
    """The stream as a relay sees it."""

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        """Store the messages in this order, pipelined, and return the position of each when all are acknowledged.

        A repeat within the broker's window gets the position of the first. None stands for a message that this broker
        will never accept, however often it is tried (too large, not a valid subject or header). Raises
        BrokerUnavailable when any acknowledgement is missing: then any of the messages may or may not be stored. No
        messages: asks only whether the connection still stands.
        """
        ...


class BrokerConnection(LogReader, Publisher, Protocol):
    """One connection, for as long as it lasts."""


class Broker(Protocol):
    """Where connections come from."""

    def connect(self) -> AbstractAsyncContextManager[BrokerConnection]:
        """A new connection each time. Raises BrokerUnavailable (also while there is no stream) or PartitionsDiffer."""
        ...


def subject_of(partition: int, route: str) -> str:
    """Return the subject of a route in a partition: `0.event.order.OrderCreated`."""
    return f"{partition}.{route}"
