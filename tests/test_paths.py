"""Every file, folder and program of the repository that its texts name is there: pages, docstrings and comments."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.splitlines()
THERE = {*FILES, *(str(parent) for name in FILES for parent in PurePosixPath(name).parents)}
NAMES = {PurePosixPath(name).name for name in FILES}
TOP = {PurePosixPath(name).parts[0] for name in FILES if "/" in name}

_ENDINGS = "conf|json|lock|md|py|sh|svg|toml|yaml|yml"
_PATH = rf"(?:\.\./|\./)*[\w.-]+(?:/[\w.-]+)*/?|[\w.-]+\.(?:{_ENDINGS})"
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(rf"`({_PATH})`")
_IN_COMMENT = re.compile(rf"(?<![\w/.$-])(?:{_PATH})(?![\w/-])")

NOT_IN_THE_REPOSITORY = {
    "docker-compose.override.yml": "users may make it",
    "docker/certificates": "docker/make-certificates makes it",
    "order/2": "a process",
    "owner.json": "in a data folder",
    "run.json": "in a data folder",
    "features/loans": "docs/adding-a-service.md makes it",
    "features/steps/loans.py": "docs/adding-a-service.md makes it",
    "features/test_loans.py": "docs/adding-a-service.md makes it",
    "tests/contracts/loans.json": "docs/adding-a-service.md makes it",
}


def mentions(name: str) -> Iterator[str]:
    """The paths that a file of the repository names."""
    text = (ROOT / name).read_text()
    if name.endswith(".md"):
        yield from _LINK.findall(_CODE.sub("", text))
    if name.endswith((".md", ".py")):
        yield from filter(_is_meant_as_path, _QUOTED.findall(text))
    else:
        comments = (line.partition("#")[2] for line in text.splitlines() if not line.startswith("#!"))
        yield from (path.rstrip(".") for line in comments for path in _IN_COMMENT.findall(line) if "/" in path)


def _is_meant_as_path(text: str) -> bool:
    return text.rstrip("/").split("/")[0] in TOP if "/" in text else bool(re.search(rf"\w\.(?:{_ENDINGS})$", text))


def is_there(path: str, named_in: str) -> bool:
    """Whether there is such a path, from the top or from the file that names it; a bare name may be anywhere."""
    path = path.rstrip("/")
    places = (Path(path), Path(named_in).parent / path)
    return path in NAMES or path in NOT_IN_THE_REPOSITORY or any(os.path.normpath(place) in THERE for place in places)


def has_texts(name: str) -> bool:
    """Whether it is a page, a program or a configuration with comments."""
    return name.endswith((".md", ".py", ".conf", ".yml")) or name.startswith((".ci/", "Docker", ".dockerignore"))


@pytest.mark.parametrize("name", [name for name in FILES if has_texts(name) and any(mentions(name))])
def test_every_path_that_is_named_is_there(name: str) -> None:
    assert {path for path in mentions(name) if not is_there(path, name)} == set()


def test_paths_are_found_in_texts() -> None:
    found = {path for name in filter(has_texts, FILES) for path in mentions(name)}
    assert {"shared/relay/relay.py", "tools/system/embedded/postgres.py", "adr/README.md", "partition.py"} <= {
        path.removeprefix("docs/") for path in found
    }
    assert not is_there("shared/relay/nothing.py", "README.md")


def test_every_program_that_is_named_can_be_run() -> None:
    named = {
        (module, name)
        for name in filter(has_texts, FILES)
        for module in re.findall(r"python -m ([a-z_.]*[a-z_])", (ROOT / name).read_text())
        if module.split(".")[0] in TOP
    }
    assert ("cdc", "cdc/README.md") in named
    assert {(module, name) for module, name in named if not _can_be_run(module)} == set()


def _can_be_run(module: str) -> bool:
    path = module.replace(".", "/")
    program = next((each for each in (f"{path}/__main__.py", f"{path}.py") if each in THERE), None)
    # A module that only defines things would do nothing: the last line of a program does something.
    return program is not None and isinstance(
        ast.parse((ROOT / program).read_text()).body[-1], ast.If | ast.Expr | ast.Raise
    )
