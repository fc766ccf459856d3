"""Every architecture decision record has the same form, and the table of decisions says what the pages say."""

import re
from datetime import date
from pathlib import Path

import pytest

from tools.system.system import ROOT

DECISIONS = ROOT / "docs" / "adr"
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives"]
PAGES = sorted(DECISIONS.glob("0*.md"))
_HEAD = re.compile(r"# (?P<number>\d{4}) (?P<title>.+)\n\n- Status: (?P<status>.+)\n- Date: (?P<date>\S+)\n\n## ")
# What a table row may say of a page: the title word for word, and the beginning of the status.
_ROW = re.compile(r"^\| \[(?P<number>\d{4})\]\((?P<file>[^)]+)\) \| (?P<title>.+) \| (?P<status>.+) \|$", re.MULTILINE)


def _kind(status: str) -> str:
    """Return `accepted` or `superseded`. AssertionError for any other status, or one that names no successor."""
    if status.startswith("superseded by ["):
        return "superseded"
    assert re.match(r"accepted\b", status), status
    return "accepted"


def _head(page: Path) -> re.Match[str]:
    head = _HEAD.match(page.read_text())
    assert head, f"{page.name} does not begin with a title, a status and a date"
    return head


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_the_form_of_all_decisions(page: Path) -> None:
    head = _head(page)
    assert page.name.startswith(f"{head['number']}-")
    assert _kind(head["status"])
    assert date.fromisoformat(head["date"]).isoformat() == head["date"]
    sections = re.split(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)[1:]
    assert sections[::2] == SECTIONS
    assert all(text.strip() for text in sections[1::2])


def test_the_table_lists_every_decision_with_its_title_and_status() -> None:
    rows = [row.groupdict() for row in _ROW.finditer((DECISIONS / "README.md").read_text())]
    listed = [(row["number"], row["file"], row["title"], _kind(row["status"])) for row in rows]
    heads = [(page, _head(page)) for page in PAGES]
    assert listed == [(head["number"], page.name, head["title"], _kind(head["status"])) for page, head in heads]
