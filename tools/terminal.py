"""The terminal, also for untrusted texts: from clients, programs or damaged messages."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from shared.core.printable import printable

PIPED_WIDTH = 160
"""For output that no terminal's width limits: nothing of a line is left out for lack of space."""


class Terminal(Console):
    """A console that sends no control sequence but its own.

    It can't tell unwanted line breaks and markup from intended ones: pass text within a line through `printable`, or
    through `as_text` if the line has markup.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments to print, with untrusted text made printable."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment("\n".join(map(printable, segment.text.split("\n"))), segment.style)


def terminal() -> Terminal:
    """Return a console that is as wide as the terminal, or wide enough for everything when there's none."""
    console = Terminal()
    return console if console.is_terminal else Terminal(width=max(console.width, PIPED_WIDTH))


def as_text(text: str) -> str:
    """Return untrusted text escaped for use within one line of markup."""
    return escape(printable(text))
