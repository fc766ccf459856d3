"""`./ftgo explain`: an order's timeline on the terminal."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from datetime import UTC
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from shared.core.printable import printable
from shared.messaging.broker import BrokerUnavailable
from tools.explain.message_log import EVER_SINCE, MessageLog, NatsLog
from tools.explain.message_words import time_of
from tools.explain.progress import Progress
from tools.explain.saga_tables import SagaTables
from tools.explain.timeline import Collector, Entry, Kind, SagaMark, Timeline, build
from tools.system.places import nats_of
from tools.system.process import LaunchError
from tools.terminal import terminal

_SIGNS = {
    Kind.EVENT: ("•", "green"),
    Kind.COMMAND: ("→", "cyan"),
    Kind.REPLY: ("←", "blue"),
    Kind.REFUSAL: ("✗", "bold red"),
    Kind.REQUEST: ("▶", "bold"),
    Kind.TIMER: ("◷", "bold yellow"),
    Kind.ELSEWHERE: ("▶", "bold"),
}
_UNDOING = "yellow"


def explain(
    order: Annotated[str, typer.Argument(help="The order's id, as POST /api/orders has answered it.")],
    nats_url: Annotated[
        str | None,
        typer.Option(help="Where NATS is, if not where `./ftgo up` runs it: nats://host:4222.", show_default=False),
    ] = None,
) -> None:
    """Show what happened to an order in all services, from the messages that were sent.

    It shows who asked for something, which events, commands and replies followed, which step of which saga they belong
    to, and what was compensated. Without a running `./ftgo up` and without --nats-url it reads FTGO_NATS_URL. It looks
    through everything sent since the order was placed, which takes a while when that was long ago on a busy system.

    Example: `./ftgo explain 01980c2e-5d3c-7a41-b6a4-2f1f0c9b7d11`
    """
    id_ = _order_id(order)
    address = nats_of(nats_url)
    try:
        (collector,) = asyncio.run(collect(NatsLog(address), [id_]))
    except BrokerUnavailable as error:
        raise LaunchError(f"the messages at {address.url} can't be read ({error}): is the system running?") from None
    if not collector.messages:
        raise LaunchError(f"no message is about an order {id_}: there is none, or it's older than what NATS keeps")
    console = terminal()
    console.print(render(build(collector, SagaTables.of_services())))
    console.print()
    console.print(legend())


async def collect(log: MessageLog, orders: Iterable[str]) -> list[Collector]:
    """Return the messages of each order, read from the stream in one go."""
    collectors = [Collector(order) for order in orders]
    made = [time_of(collector.order_id) or EVER_SINCE for collector in collectors]
    if made:
        async with aclosing(log.since(min(made))) as messages:
            async for message in messages:
                for collector in collectors:
                    collector.offer(message)
    return collectors


def render(timeline: Timeline) -> RenderableType:
    """Return the timeline as it's shown, for any terminal width: what doesn't fit is cut off at the right."""
    rows = [(Text("ms"), Text("service", "dim"), Text("message", "dim"), Text("saga, step", "dim"), Text())]
    for entry in timeline.entries:
        after = round((entry.at - timeline.began).total_seconds() * 1000)
        service = Text(printable(entry.sender))
        rows.append((Text(f"{after:,}"), service, _what(entry), _saga(entry.mark), _detail(entry)))
    # Not a rich table: where space is short, that would cut every column and not only the last one. An entry that
    # begins a branch belongs to no saga, so it may extend into that column.
    begins = [False, *(entry.depth == 0 for entry in timeline.entries)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    widths[2] = max(row[2].cell_len for row, root in zip(rows, begins, strict=True) if not root)
    lines = []
    for (when, service, what, saga, detail), root in zip(rows, begins, strict=True):
        when.align("right", widths[0])
        when.stylize("dim")
        service.align("left", widths[1])
        cells = [when, service, what, saga, detail]
        if root:
            what.align("left", max(widths[2] + 2 + widths[3], what.cell_len))
            del cells[3]
        else:
            what.align("left", widths[2])
            saga.align("left", widths[3])
        lines.append(_one_line(Text("  ").join(cells)))
    return Group(_title(timeline), *lines)


def legend() -> Text:
    """Return the explanation of the signs."""
    text = Text()
    for kind, meaning in (
        (Kind.REQUEST, "request"),
        (Kind.EVENT, "event"),
        (Kind.COMMAND, "command"),
        (Kind.REPLY, "reply"),
        (Kind.REFUSAL, "refusal"),
    ):
        sign, style = _SIGNS[kind]
        text.append(sign, style).append(f" {meaning}   ", "dim")
    return text.append("↶", _UNDOING).append(" compensation   indented: what followed", "dim")


def progress_text(progress: Progress) -> Text:
    """Return the states of an order, its ticket and its delivery in one line."""
    text = Text()
    for name, state in (("order", progress.order), ("ticket", progress.ticket), ("delivery", progress.delivery)):
        if state:
            text.append(" · " if text else "").append(f"{name} ", "dim").append(state, state_style(state))
    return text


def state_style(state: str) -> str:
    """Return the colour of a state: good, bad, in progress or waiting."""
    if state in ("Approved", "PickedUp", "DELIVERED"):
        return "green"
    if state in ("Rejected", "Cancelled", "CANCELLED"):
        return "red"
    return "yellow" if state.lower().endswith("pending") else "cyan"


def _title(timeline: Timeline) -> Text:
    began = timeline.began.astimezone(UTC)
    title = Text.assemble((f"Order {timeline.order_id}", "bold"), (f"  {began:%Y-%m-%d %H:%M:%S} UTC\n", "dim"))
    title.append_text(progress_text(timeline.progress))
    if (seconds := timeline.approval_seconds) is not None:
        title.append(" · ", "dim").append(f"approved {seconds * 1000:,.0f} ms after the POST")
    title.append(f"\n{timeline.messages} messages · correlation id {printable(timeline.correlation_ids[0])}", "dim")
    if more := len(timeline.correlation_ids) - 1:
        title.append(f", and {more} of other requests", "dim")
    return _one_line(title)


def _one_line(text: Text) -> Text:
    text.rstrip()
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _what(entry: Entry) -> Text:
    sign, style = _SIGNS[entry.kind]
    is_root = entry.depth == 0
    text = Text("  " * max(entry.depth - 1, 0)).append(f"{sign} ", style)
    text.append(printable(entry.name), style if is_root or entry.kind is Kind.REFUSAL else "")
    if entry.copies > 1:
        text.append(f" ×{entry.copies}", "bold yellow")
    return text


def _saga(mark: SagaMark | None) -> Text:
    if mark is None:
        return Text()
    style = _UNDOING if mark.undoing else "dim"
    return Text(f"{mark.saga} {'↶' if mark.undoing else ''}{mark.step}/{mark.steps}", style)


def _detail(entry: Entry) -> Text:
    target = f"to {entry.receiver}" if entry.kind is Kind.COMMAND else ""
    parts = [part for part in (target, entry.detail) if part]
    return Text(printable(" · ".join(parts)), "red" if entry.kind is Kind.REFUSAL else "dim")


def _order_id(text: str) -> str:
    try:
        return str(UUID(text.strip()))
    except ValueError:
        raise LaunchError(f"{text!r} is no order's id: that is a UUID, as POST /api/orders answers it") from None
