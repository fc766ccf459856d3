"""What the demo shows: a table that changes while orders move on, or plain lines where there's no terminal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from shared.core.printable import printable
from shared.messaging.envelope import Envelope
from tools.demo.orders import DemoOrder
from tools.explain.command import legend, progress_text, render, state_style
from tools.explain.message_words import order_of, short
from tools.explain.progress import Progress
from tools.explain.timeline import Timeline

ROWS = 12
"""Rows of the table that changes: no more than a terminal shows at once."""


@dataclass
class Row:
    """An order and how far it has come, as its messages say."""

    order: DemoOrder
    progress: Progress = field(default_factory=Progress)


class Screen:
    """Shows the demo's progress live. A context manager: the changing table is shown inside its block."""

    def __init__(self, console: Console) -> None:
        """Show everything on this console."""
        self._console = console
        self._rows: list[Row] = []
        self._live = Live(console=console, refresh_per_second=12, get_renderable=self._table, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def chapter(self, title: str, story: str) -> None:
        """Print the heading of a new part."""
        self._console.print()
        self._console.print(Text.assemble((title, "bold"), "  ", (story, "dim")))

    def say(self, text: str, order: DemoOrder | None = None) -> None:
        """Print what a person in the demo does."""
        number = Text(f"{order.number:>3}  " if order else "     ", "bold")
        self._console.print(number.append(printable(text), "not bold"))

    def complain(self, text: str) -> None:
        """Print what went wrong."""
        self._console.print(Text(f"     {printable(text)}", "red"), soft_wrap=True)

    def add(self, order: DemoOrder) -> None:
        """Show an order from now on."""
        self._rows.append(Row(order))

    def take(self, message: Envelope) -> None:
        """Update the order that the message is about."""
        row = self._row_of(message)
        if row is None:
            return
        if row.progress.take(message) and not self._live.is_started:
            moment = message.time.strftime("%H:%M:%S.%f")[:-3]
            line = Text(f"{row.order.number:>3}  ", "bold").append(f"  {moment}  ", "dim")
            self._console.print(line.append_text(progress_text(row.progress)))

    def _row_of(self, message: Envelope) -> Row | None:
        """Find the row of the order that the message is about. The correlation id alone is not enough: a request about
        another order can cause a courier to be assigned to this one."""
        about = order_of(message)
        for row in self._rows:
            if row.order.id == about if row.order.id else row.order.correlation_id == message.correlation_id:
                return row
        return None

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("", justify="right", style="bold", no_wrap=True)
        for name in ("id", "story", "order", "ticket", "delivery"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        if hidden := max(len(self._rows) - ROWS, 0):
            table.add_row("", "", f"{hidden} before", "", "", "")
        for row in self._rows[hidden:]:
            states = (row.progress.order, row.progress.ticket, row.progress.delivery)
            table.add_row(
                str(row.order.number),
                Text(short(row.order.id) if row.order.id else "", "dim"),
                row.order.story,
                *(Text(state, state_style(state)) for state in states),
            )
        return table


def timelines(console: Console, shown: Iterable[tuple[DemoOrder, Timeline]], left_out: int) -> None:
    """Print the timeline of each order."""
    for order, timeline in shown:
        console.print()
        console.print(Rule(Text(f"{order.number}  {order.story}", "bold"), align="left", style="dim"))
        console.print(render(timeline))
    console.print()
    if left_out:
        console.print(Text(f"{left_out} more like them: ./ftgo explain tells their lives too.", "dim"))
    console.print(legend())


def summary(
    console: Console, orders: Sequence[DemoOrder], told: Mapping[str, Timeline], failures: Sequence[str]
) -> None:
    """Print where each order ended, how long its approval took, and whether all is well."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", justify="right", style="bold", no_wrap=True)
    table.add_column("order", no_wrap=True)
    table.add_column("story", no_wrap=True, overflow="ellipsis")
    table.add_column("ended as", no_wrap=True, overflow="ellipsis")
    table.add_column("POST to Approved", justify="right", no_wrap=True)
    seconds = []
    for order in orders:
        timeline = told.get(order.id)
        taken = timeline.approval_seconds if timeline else None
        if taken is not None:
            seconds.append(taken)
        table.add_row(
            str(order.number),
            Text(order.id, "dim"),
            order.story,
            _ended(order, timeline),
            f"{taken * 1000:,.0f} ms" if taken is not None else Text("-", "dim"),
        )
    console.print()
    console.print(Group(Rule(Text("Summary", "bold"), align="left", style="dim"), table), Text())
    if seconds:
        console.print(
            f"{len(seconds)} orders approved, {median(seconds) * 1000:,.0f} ms after their POST in the median, "
            f"{max(seconds) * 1000:,.0f} ms at most."
        )
    for failure in failures:
        console.print(Text(printable(failure), "bold red"), soft_wrap=True)
    if not failures:
        console.print(Text(f"All {len(orders)} orders ended where they should.", "bold green"))


def _ended(order: DemoOrder, timeline: Timeline | None) -> Text:
    if order.failed:
        return Text("not where it should", "bold red")
    if timeline is None:
        return Text("unknown", "yellow")
    states = [state for state in (timeline.progress.order, timeline.progress.delivery) if state]
    return Text(", ").join(Text(state, state_style(state)) for state in states)
