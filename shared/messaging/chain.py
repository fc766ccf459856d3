"""Chains of messages between one sender and one reader: they show when a message is missing from the stream.

A broker can lose a stored message, or a whole file of them, without an error: it skips them, and a reader that filters
by subject cannot see it. So with each message a relay names the row that it sent before to the same reader in the same
partition: the link. A reader that has not had that row asks the sender's relay which rows it has sent. It gets the
missing ones again from the outbox before it reads on. There is one chain for each sender, reader and partition, not for
each subject: a sender's messages about one key stay in order, whatever their types are.

Messages from before there were chains have no link and are not checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.messaging.envelope import OWN_HEADER, Received

BEGINNING = "0"
"""The link of the first message of a chain."""


@dataclass(frozen=True, kw_only=True)
class SentRequest:
    """Asks what was published for a reader up to a row, that row included; `row=None` asks for the last row only."""

    reader: str
    partition: int
    row: int | None


@dataclass(frozen=True, kw_only=True)
class RowsRequest:
    """Asks to send these rows to a reader again."""

    reader: str
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SentRow:
    """A published outbox row and the id of its message."""

    row: int
    message_id: str


@dataclass(frozen=True, kw_only=True)
class SentBefore:
    """The rows that a relay has sent to a reader, the newest first.

    `more` says that there are rows before them. `kept` says whether the sender still knows all the rows before them.
    """

    rows: tuple[SentRow, ...] = ()
    more: bool = False
    kept: bool = True


@dataclass(frozen=True, kw_only=True)
class Missing:
    """The sender has sent messages between two rows that are neither in the stream nor in its outbox any more."""

    partition: int
    sender: str
    after_row: int
    before_row: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """The message at an index of a batch follows a row that the reader has not had."""

    index: int
    sender: str
    row: int
    previous: SentRow


def link_header(reader: str) -> str:
    """The header of a message that names the row before it in the chain to a reader."""
    return f"{OWN_HEADER}previous-{reader}"


def row_id_of(sender: str, row: int) -> str:
    """Return a row's id in the stream."""
    return f"{sender}-{row}"


class Links:
    """The sending end of a relay's chains: it makes the links. `readers` has the services that read each route."""

    def __init__(self, readers: Mapping[str, Sequence[str]], heads: Mapping[str, str]) -> None:
        self._readers = readers
        self._chains: dict[tuple[int, str], list[tuple[str, str]]] = {}  # header and chain, by partition and route
        self.heads = dict(heads)
        """The link of the next message of each chain, by `chain_name`."""
        self._sent: list[int] = []

    def next(self, row: int, message_id: str, partition: int, route: str) -> dict[str, str]:
        """Return the link headers of the row that is published next, and advance the chains."""
        links = {}
        chains = self._chains.get((partition, route))
        if chains is None:
            readers = self._readers.get(route, ())
            chains = [(link_header(reader), chain_name(partition, reader)) for reader in readers]
            self._chains[partition, route] = chains
        for header, chain in chains:
            links[header] = self.heads.get(chain, BEGINNING)
            self.heads[chain] = f"{row} {message_id}"
        if links:
            self._sent.append(row)
        return links

    def take_sent(self) -> list[int]:
        """Return the rows that were linked since the last call, in order, and clear them."""
        sent, self._sent = self._sent, []
        return sent


def parse_link(link: str) -> tuple[int, str] | None:
    """Return the row that a link names and the id of its message; None if it is not a link."""
    row, _, message_id = link.partition(" ")
    return (int(row), message_id) if row.isdecimal() else None


def sender_and_row(row_id: str) -> tuple[str, int]:
    """Return a sender and its row, the inverse of `row_id_of`, for a message that has a link."""
    sender, _, row = row_id.rpartition("-")
    return sender, int(row) if row.isdecimal() else 0


def chain_name(partition: int, reader: str) -> str:
    """Return the relay's name of a chain."""
    return f"{partition}/{reader}"


class Chains:
    """The receiving end of a reader's chains in its partition. `heads` has the last row from each sender."""

    def __init__(self, reader: str, heads: Mapping[str, int]) -> None:
        self._header = link_header(reader)
        self.heads = dict(heads)

    def gap(self, batch: Sequence[Received]) -> Gap | None:
        """Return the first gap in a batch, or None."""
        heads = dict(self.heads)
        for index, received in enumerate(batch):
            link = received.headers.get(self._header)
            if link is None:
                continue
            sender, row = sender_and_row(received.row_id)
            if link != BEGINNING:
                previous = parse_link(link)
                if previous is None:
                    continue
                if previous[0] != heads.get(sender):
                    named = SentRow(row=previous[0], message_id=previous[1])
                    return Gap(index=index, sender=sender, row=row, previous=named)
            heads[sender] = row
        return None

    def behind(self, batch: Sequence[Received]) -> dict[str, int]:
        """Return the heads as they are when the batch has been handled.

        Messages straight from a sender, without a position, do not change them.
        """
        if not batch[-1].position:
            return self.heads
        linked = (received.row_id for received in batch if self._header in received.headers)
        return {**self.heads, **dict(map(sender_and_row, linked))}
