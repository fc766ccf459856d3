"""Finds messages that the stream has lost, and gets them again from their sender: see `shared.messaging.chain`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from shared.core.clock import Clock
from shared.messaging.broker import BrokerUnavailable, LogReader
from shared.messaging.chain import Gap, Missing, SentRow, row_id_of
from shared.messaging.envelope import Envelope, Received
from shared.messaging.inbox import Claim
from shared.processing.partition import HeldPartition
from shared.telemetry import metrics

log = structlog.get_logger(__name__)

ENDS_EVERY = timedelta(minutes=5)
"""How often the senders are asked for their last messages while none come."""
UNDER_WAY = timedelta(seconds=2)
"""After this time a published message has arrived, if the stream has it."""

ASK_SECONDS = 1.0
"""How long to wait for a sender that is asked for its last message: nothing is read meanwhile, so it is short."""

RowsHad = Callable[[Sequence[str]], Awaitable[Mapping[str, Claim]]]
"""Returns the claims of messages with these ids: an inbox's `find`."""


@dataclass(frozen=True)
class Recipient:
    """A service that reads these routes of a partition, and the services that send to it."""

    reader: str
    partition: int
    routes: frozenset[str]
    senders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """The rows of a sender that the reader has not had, in the order they were sent in.

    `complete` says whether these are all: the sender may no longer know what it sent before.
    """

    rows: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class _End:
    """The row that a sender named as its last, and the last row that we had from it at that moment."""

    row: SentRow
    had: int | None


async def find_lost(
    stream: LogReader, sender: str, recipient: Recipient, row: int, last: int | None, had: RowsHad
) -> Lost:
    """Return the rows that were sent up to `row` and not received.

    The search goes back to `last`, the last row received, or to a row that is in the inbox with its own row id. A
    message that came in another row, as a resend, does not end the search: messages before it may be missing.
    """
    lost: list[int] = []
    while True:
        page = await stream.sent_before(sender, recipient.reader, recipient.partition, row)
        claims = await had([each.message_id for each in page.rows])
        for each in page.rows:
            if each.row == last or _is_claimed(sender, each, claims):
                return _in_order(lost, complete=True)
            lost.append(each.row)
        if not page.more or not page.rows:
            return _in_order(lost, complete=page.kept)
        row = page.rows[-1].row


class Gaps:
    """Fills the gaps of a subscription, as long as its connection to the stream lasts."""

    def __init__(
        self, recipient: Recipient, stream: LogReader, held: HeldPartition[Any], clock: Clock, at_once: int
    ) -> None:
        self._recipient = recipient
        self._stream = stream
        self._held = held
        self._clock = clock
        self._at_once = at_once
        self._ends: dict[str, _End] = {}
        self._look_at = clock()

    async def fill(self, gap: Gap) -> None:
        """Handle the messages that are missing before a message, as far as they are still available."""
        await self._get_again(gap.sender, up_to=gap.previous, before=gap.row)

    async def look_for_more(self) -> None:
        """Ask the senders for their last messages now and then, while none come.

        No later message shows a gap at the end of a chain. So the senders are asked which row was their last; a while
        later that row has come, or is missing.
        """
        now = self._clock()
        if now < self._look_at:
            return
        if self._ends:
            ends, self._ends = self._ends, {}
            for sender, end in ends.items():
                if self._held.chains.heads.get(sender) == end.had != end.row.row:
                    await self._get_again(sender, up_to=end.row, before=end.row.row + 1)
            self._look_at = now + ENDS_EVERY
        else:
            with suppress(BrokerUnavailable, TimeoutError):  # a relay does not answer: ask again later
                for sender in self._recipient.senders:
                    async with asyncio.timeout(ASK_SECONDS):
                        await self._ask_for_end(sender)
            self._look_at = now + UNDER_WAY

    async def _ask_for_end(self, sender: str) -> None:
        had = self._held.chains.heads.get(sender)
        page = await self._stream.sent_before(sender, self._recipient.reader, self._recipient.partition, None)
        for last in page.rows[:1]:
            self._ends[sender] = _End(last, had)

    async def _get_again(self, sender: str, up_to: SentRow, before: int) -> None:
        """Handle the rows up to `up_to` that we have not had from a sender; `before` is the row that follows."""
        if _is_claimed(sender, up_to, await self._held.claims([up_to.message_id])):
            await self._held.follow(sender, up_to.row, [])  # a relay has repeated a row, or we read it again
            return
        last = self._held.chains.heads.get(sender)
        lost = await find_lost(self._stream, sender, self._recipient, up_to.row, last, self._held.claims)
        count = 0
        holes = _Holes(last, lost.complete)
        for start in range(0, len(lost.rows), self._at_once):
            rows = lost.rows[start : start + self._at_once]
            messages = await self._stream.sent_again(sender, self._recipient.reader, rows)
            for row, message in zip(rows, messages, strict=True):
                holes.note(row, message is not None)
            if ours := [message for message in messages if message is not None and self._is_ours(message)]:
                await self._held.handle_again(ours)
                count += len(ours)
        missing = [
            Missing(partition=self._recipient.partition, sender=sender, after_row=after, before_row=until)
            for after, until in holes.up_to(before)
        ]
        await self._held.follow(sender, up_to.row, missing)
        self._tell(sender, up_to.row, count, missing)

    def _is_ours(self, received: Received) -> bool:
        """Return whether we read such messages: a relay of another version may send others."""
        try:
            return Envelope.of(received).route in self._recipient.routes
        except ValueError:
            return True  # handle it like any undecodable message: it is parked for an operator

    def _tell(self, sender: str, row: int, count: int, missing: Sequence[Missing]) -> None:
        where = {"sender": sender, "partition": self._recipient.partition}
        if count or missing:
            metrics.GAPS.inc()
            metrics.SENT_AGAIN.inc(count)
            log.error("the stream lacked messages", **where, up_to=row, sent_again=count)
        for each in missing:
            what = "messages are missing: neither the stream nor their sender has them"
            log.error(what, **where, after=each.after_row, before=each.before_row)


class _Holes:
    """Collects the ranges of rows in which something is missing that cannot be obtained again.

    Nothing is known about the time before the first message.
    """

    def __init__(self, last: int | None, complete: bool) -> None:
        self._after = last
        self._open = not complete
        self._found: list[tuple[int, int]] = []

    def note(self, row: int, is_kept: bool) -> None:
        """Note the next row."""
        if not is_kept:
            self._open = True
            return
        self._close(row)
        self._after = row

    def up_to(self, row: int) -> list[tuple[int, int]]:
        """Return all ranges, when no more rows come before `row`."""
        self._close(row)
        return self._found

    def _close(self, row: int) -> None:
        if self._open and self._after is not None:
            self._found.append((self._after, row))
        self._open = False


def _is_claimed(sender: str, sent: SentRow, claims: Mapping[str, Claim]) -> bool:
    claim = claims.get(sent.message_id)
    return claim is not None and claim.row_id == row_id_of(sender, sent.row)


def _in_order(newest_first: Sequence[int], *, complete: bool) -> Lost:
    """Return each row once, at the place where it was sent first.

    A relay repeats rows when it cannot be sure that they have arrived.
    """
    return Lost(tuple(dict.fromkeys(reversed(newest_first))), complete)
