"""The chain of what one sender sends to one reader: how a hole in the middle of the stream is noticed.

A broker can lose a stored message, or a whole file of them, without a word: it passes over them, and whoever reads by
subject can't see it. So a relay says with each message which of its rows it has sent to the same reader before it, in
the same partition. A reader that has not had that row asks the sender's relay what it has sent, and gets it again from
the outbox, before it goes on. There is a chain for each pair, not for each subject: what a sender says of one key
stays in order, whatever its types are.

What was published before there were chains has no link and is not checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.messaging.envelope import OWN_HEADER, Received

BEGINNING = "0"
"""The link of the first message of a chain."""


@dataclass(frozen=True, kw_only=True)
class SentRequest:
    """What has been published for a reader up to a row, that row included? Without a row: which one was the last?"""

    reader: str
    partition: int
    row: int | None


@dataclass(frozen=True, kw_only=True)
class RowsRequest:
    """Send these rows to a reader again."""

    reader: str
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SentRow:
    """A row of an outbox that was published, and the id of its message."""

    row: int
    message_id: str


@dataclass(frozen=True, kw_only=True)
class SentBefore:
    """What a relay has sent to a reader, the newest first.

    `more` says that there is more before it, `kept` whether the sender still knows all that there is before it.
    """

    rows: tuple[SentRow, ...] = ()
    more: bool = False
    kept: bool = True


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a sender has sent a reader between two of its rows is neither in the stream nor in its outbox any more."""

    partition: int
    sender: str
    after_row: int
    before_row: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """The message at an index of a batch comes behind a row that the reader has not had."""

    index: int
    sender: str
    row: int
    previous: SentRow


def link_header(reader: str) -> str:
    """The header of a message that names the row before it in the chain to a reader."""
    return f"{OWN_HEADER}previous-{reader}"


def row_id_of(sender: str, row: int) -> str:
    """A row's id in the stream."""
    return f"{sender}-{row}"


class Links:
    """A relay's ends of its chains: it makes the links. `readers` names those that read a route."""

    def __init__(self, readers: Mapping[str, Sequence[str]], heads: Mapping[str, str]) -> None:
        self._readers = readers
        self._chains: dict[tuple[int, str], list[tuple[str, str]]] = {}  # header and chain, by partition and route
        self.heads = dict(heads)
        """What the next message of each chain, by `chain_name`, will have as its link."""
        self._sent: list[int] = []

    def next(self, row: int, message_id: str, partition: int, route: str) -> dict[str, str]:
        """The links of the row that is published next."""
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
        """The rows that were published since this was asked last, in their order."""
        sent, self._sent = self._sent, []
        return sent


def parse_link(link: str) -> tuple[int, str] | None:
    """The row that a link names, and the id of its message; None for what is no link."""
    row, _, message_id = link.partition(" ")
    return (int(row), message_id) if row.isdecimal() else None


def sender_and_row(row_id: str) -> tuple[str, int]:
    """The inverse of `row_id_of`, of a message that has a link: it's a relay that links."""
    sender, _, row = row_id.rpartition("-")
    return sender, int(row) if row.isdecimal() else 0


def chain_name(partition: int, reader: str) -> str:
    """What a relay calls one of its chains."""
    return f"{partition}/{reader}"


class Chains:
    """A reader's ends of the chains in its partition. `heads` has the row that came last from each sender."""

    def __init__(self, reader: str, heads: Mapping[str, int]) -> None:
        self._header = link_header(reader)
        self.heads = dict(heads)

    def gap(self, batch: Sequence[Received]) -> Gap | None:
        """The first message that does not follow what came before."""
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
        """The ends when these have been handled. What comes straight from a sender says nothing of them."""
        if not batch[-1].position:
            return self.heads
        linked = (received.row_id for received in batch if self._header in received.headers)
        return {**self.heads, **dict(map(sender_and_row, linked))}
