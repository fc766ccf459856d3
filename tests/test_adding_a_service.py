"""docs/adding-a-service.md can be followed: a copy of the project gets the service that the page builds."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "adding-a-service.md").read_text()
_BIN = Path(sys.executable).parent

_FILE = re.compile(r"^`(?P<path>[\w./]+)`:\n\n(?P<fence>`{3,})\w+\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_DIFF = re.compile(r"In `(?P<path>[\w./]+)`.*?\n\n```diff\n(?P<before> .*\n)\+(?P<added>.*\n)```$", re.MULTILINE)
_SHELL = re.compile(r"^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"`([\w./-]+)`")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which everything that the page says has been done but the checks."""
    copy = tmp_path_factory.mktemp("project")
    for path in _files_of_the_project():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy / path)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    (change,) = _DIFF.finditer(PAGE)
    changed = copy / change["path"]
    before, added = change["before"][1:], change["added"]
    assert changed.read_text().count(before) == 1
    changed.write_text(changed.read_text().replace(before, before + added))
    folders, _checks = _SHELL.findall(PAGE)
    subprocess.run(["sh", "-euc", folders], cwd=copy, check=True)
    for file in _FILE.finditer(PAGE):
        (copy / file["path"]).write_text(file["text"])
    _run(copy, sys.executable, "-m", "tools", "docs")
    return copy


def test_one_line_is_changed_by_hand_and_the_rest_generated(project: Path) -> None:
    before, after = (
        set(_files_of_the_project()),
        {path.relative_to(project).as_posix() for path in _files_below(project)},
    )
    changed = {path for path in before & after if (ROOT / path).read_bytes() != (project / path).read_bytes()}
    rows = PAGE.partition("| file | what is new in it |")[2].partition("\n\n")[0].splitlines()
    generated = {name for row in rows for name in _NAME.findall(row.partition("` | ")[0] + "`")}
    assert changed == {"kernel/topology.py", *generated} - {"loans/README.md", "tests/contracts/loans.json"}
    assert {path.partition("/")[0] for path in after - before - {"tests/contracts/loans.json"}} == {"loans"}
    old, new = ((root / "kernel/topology.py").read_text().splitlines() for root in (ROOT, project))
    assert len(new) == len(old) + 1
    assert "stateDiagram-v2" in (project / "loans/README.md").read_text()


def test_its_own_tests_pass_and_what_is_generated_is_all_there_is(project: Path) -> None:
    documents = "tests/test_documents.py::test_the_documents_are_as_the_code_has_them"
    assert "3 passed" in _run(
        project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "loans", documents
    )


def test_its_imports_point_inward(project: Path) -> None:
    assert "Others know loans by its contracts only KEPT" in _run(project, str(_BIN / "lint-imports"), "--no-cache")
    wrong = project / "loans" / "domain" / "wrong.py"
    wrong.write_text("import loans.adapters.http\n")
    try:
        with pytest.raises(AssertionError, match="BROKEN"):
            _run(project, str(_BIN / "lint-imports"), "--no-cache")
    finally:
        wrong.unlink()


def test_its_types_and_its_style_are_right(project: Path) -> None:
    _run(project, sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "adding-a-service"), "loans")
    _run(project, str(_BIN / "ruff"), "check", "--no-cache", "loans")
    _run(project, str(_BIN / "ruff"), "format", "--no-cache", "--check", "loans")


def test_compose_starts_it_with_its_relay(project: Path) -> None:
    containers = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]
    assert containers["loans"]["command"] == ["loans"]
    assert containers["loans-relay"]["command"] == ["cdc", "loans"]
    assert "ftgo.*.event.loans.BookLent" in (project / "docker/nats-users.conf").read_text()


def _files_of_the_project() -> list[str]:
    """What git knows, and what it would add."""
    names = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(names, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in listed if (ROOT / path).is_file()]


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and ".venv" not in parts and "__pycache__" not in parts:
            yield path


def _run(project: Path, *command: str) -> str:
    """What it prints. An AssertionError with that, when it fails."""
    environment = {**os.environ, "PYTHONPATH": "", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
