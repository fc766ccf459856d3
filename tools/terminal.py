"""The terminal, for texts that others have written too: of clients, of programs, of damaged messages."""

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

    Line breaks and markup it can't tell from those that are meant: what goes into a line is to be `printable`, or
    `as_text` where the line has markup.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments to be printed, those of texts from elsewhere made printable."""
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
    """Return somebody else's text as a part of one line with markup."""
    return escape(printable(text))
