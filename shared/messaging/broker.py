"""The broker as a log: one stream of messages, read from any position and never acknowledged.

When a call raises `BrokerUnavailable`, its connection and all feeds on it are closed. The user opens a new connection
and reads on from a position that it has stored. Nothing here reconnects by itself.
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
    """The broker cannot be reached, does not answer, or skipped a message. Open a new connection and try again."""


class PartitionsDiffer(Exception):
    """This process has another number of partitions than the stream, so it would look for keys in the wrong place.

    Waiting does not help: the process should end with this message.
    """


@dataclass(frozen=True, slots=True)
class Bounds:
    """Positions of the stream's first and last message. Empty: `first == last + 1`; nothing ever stored: `1, 0`."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Identifies the message stored at a position: its outbox row's id and when the broker stored it."""

    position: int
    row_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A message as the relay publishes it. The broker drops a repeat with the same `row_id`."""

    row_id: str
    subject: str
    headers: Mapping[str, str] = field(repr=False)
    data: str = field(repr=False)


class Feed(Protocol):
    """The messages behind a position, each once, in the order of the stream."""

    @property
    def pending(self) -> int:
        """How many messages the stream had when the feed was opened, including damaged ones that cannot be read."""
        ...

    async def take(self, limit: int, wait: float) -> list[Received]:
        """Return the next messages, at most `limit`; wait up to `wait` seconds for the first, then return `[]`.

        Raise BrokerUnavailable as soon as the order or the completeness of the following messages is not certain.
        """
        ...


class LogReader(Protocol):
    """The stream as a subscription sees it. All methods raise BrokerUnavailable."""

    async def bounds(self) -> Bounds:
        """Return the positions of the stream's first and last message; positions are common to all partitions."""
        ...

    async def message_at(self, position: int) -> Mark | None:
        """Return the mark of the message stored at exactly that position; None if there is none."""
        ...

    def read(
        self, partition: int, *, after: int, filters: Sequence[str], to_end: bool = False
    ) -> AbstractAsyncContextManager[Feed]:
        """Open a feed of a partition's messages behind `after` whose route is one of `filters`.

        A route is, for example, `event.order.OrderCreated`. With `to_end` the feed ends with the last message that was
        there when it was opened: then `take` returns `[]` only at the end.
        """
        ...

    async def sent_before(self, sender: str, reader: str, partition: int, row: int | None) -> SentBefore:
        """Return what a sender's relay has published for a reader up to a row of its outbox, that row included.

        With `row=None`, return only the last row.
        """
        ...

    async def sent_again(self, sender: str, reader: str, rows: Sequence[int]) -> list[Received | None]:
        """Return messages straight from a sender's outbox, in the order of `rows`; None for deleted ones."""
        ...


class Publisher(Protocol):
    """The stream as a relay sees it."""

    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        """Store the messages in this order, pipelined, and return the position of each when all are acknowledged.

        A repeat within the broker's window gets the position of the first. None stands for a message that this broker
        will never accept, however often it is tried (too large, not a valid subject or header). Raise BrokerUnavailable
        when an acknowledgement is missing: then each of the messages may or may not be stored. An empty list only
        checks whether the connection still works.
        """
        ...


class BrokerConnection(LogReader, Publisher, Protocol):
    """One connection to the broker."""


class Broker(Protocol):
    """Opens connections to the broker."""

    def connect(self) -> AbstractAsyncContextManager[BrokerConnection]:
        """Open a new connection. Raise BrokerUnavailable (also while there is no stream) or PartitionsDiffer."""
        ...


def subject_of(partition: int, route: str) -> str:
    """Return the subject of a route in a partition: `0.event.order.OrderCreated`."""
    return f"{partition}.{route}"
