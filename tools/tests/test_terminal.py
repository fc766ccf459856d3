"""What others have written acts on nobody's terminal, and makes no line of its own."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.text import Text

from shared.core.printable import printable
from tools.explain.command import render
from tools.explain.saga_tables import SagaTables
from tools.explain.tests.tape import collected, rejected
from tools.explain.timeline import build
from tools.repair.command import _facts
from tools.system.logs import _write_line
from tools.system.system import ROOT
from tools.terminal import Terminal, as_text

# A title, a colour, a cleared screen, two line breaks, the direction of writing, what isn't seen; and rich's markup.
HOSTILE = "Nice\x1b]0;title\x07\x1b[31m\x9b2J\r\n99 forged\u2028\u202eevil\u200b\x7f [red]not red[/]"
SEEN = r"Nice\x1b]0;title\x07\x1b[31m\x9b2J\r\n99 forged\u2028\u202eevil\u200b\x7f [red]not red[/]"


def printed(*objects: object) -> list[str]:
    console = Terminal(file=io.StringIO(), width=400)
    console.print(*objects)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().removesuffix("\n").split("\n")]


def test_what_is_printable_is_seen_as_it_is() -> None:
    assert printable("Crème brûlée, दाल, 東京, 🍕 & co.") == "Crème brûlée, दाल, 東京, 🍕 & co."
    assert printable(HOSTILE) == SEEN


def test_a_text_in_a_line_with_markup() -> None:
    assert printed(f"[bold]{as_text(HOSTILE)}[/]") == [SEEN]
    markup = ":skull: [/] \\"
    assert printed(f"[bold]{as_text(markup)}[/]") == [markup]


@pytest.mark.parametrize("wrap", [Text, Panel.fit, str], ids=["text", "panel", "string"])
def test_what_nobody_thought_of_is_not_acted_on(wrap: Callable[[str], object]) -> None:
    lines = printed(wrap(HOSTILE))
    assert all(line.isprintable() for line in lines)
    assert r"\x1b" in lines[0] or r"\x1b" in lines[1]


def test_a_terminal_has_its_own_colours() -> None:
    console = Terminal(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    console.print("[red]mine[/]", Text("\x1b[32mtheirs"))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "\x1b[31mmine\x1b[0m \\x1b[32mtheirs\n"


def test_an_orders_life() -> None:
    plain = printed(render(build(collected(*rejected()), SagaTables.of_services())))
    lines = printed(render(build(collected(*rejected(restaurant=HOSTILE)), SagaTables.of_services())))
    assert len(lines) == len(plain)
    assert any(SEEN in line for line in lines)


def test_facts_of_a_parked_message() -> None:
    first, second = printed(_facts({"error": HOSTILE, HOSTILE: "x"}))
    assert first.split(maxsplit=1) == ["error", SEEN]
    assert second.strip() == f"{SEEN}  x"


def test_a_programs_log(capsys: pytest.CaptureFixture[str]) -> None:
    _write_line(b"one\x1b[31m\tline \xff\n", "nats", 4)
    assert capsys.readouterr().out == "nats  one\\x1b[31m\tline \ufffd\n"


def test_nothing_is_printed_past_it() -> None:
    """Every console of ours is a Terminal."""
    sources = (path for folder in ("shared", "cdc") for path in Path(ROOT, folder).rglob("*.py"))
    others = [path for path in sources if re.search(r"[^\w.]Console\(", path.read_text()) and "tests" not in path.parts]
    assert [path.name for path in others] == []
