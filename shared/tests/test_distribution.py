"""The distribution `ftgo-shared`: what it says of itself, and what it may ask to be installed."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from sys import stdlib_module_names
from typing import Any

import pytest

import shared

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "shared"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
DISTRIBUTION: dict[str, Any] = tomllib.loads((LIBRARY / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = DISTRIBUTION["optional-dependencies"]


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=~!; ]", requirement, maxsplit=1)[0].lower()


def required_with(extras: str) -> set[str]:
    """The names of the distributions that are asked for with extras, such as `nats,postgres`."""
    found = {name_of(each) for each in DISTRIBUTION["dependencies"]}
    for each in (requirement for extra in extras.split(",") if extra for requirement in EXTRAS[extra]):
        if each.startswith("ftgo-shared["):
            found |= required_with(each.partition("[")[2].rstrip("]"))
        else:
            found.add(name_of(each))
    return found


def imported_in(folder: Path) -> set[str]:
    """The packages of others that the modules in a folder import."""
    modules: set[str] = set()
    for path in folder.rglob("*.py"):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    return modules - stdlib_module_names - {"shared"}


def test_its_version_is_the_projects() -> None:
    assert DISTRIBUTION["version"] == PROJECT["project"]["version"]


def test_it_asks_for_the_versions_that_the_project_asks_for() -> None:
    groups = PROJECT["dependency-groups"]
    known = {name_of(each): each for each in (*PROJECT["project"]["dependencies"], *groups["launcher"], *groups["dev"])}
    asked = [*DISTRIBUTION["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]
    assert [each for each in asked if known.get(name_of(each), each) != each] == []


@pytest.mark.parametrize(
    ("layer", "extras"),
    [
        *((layer, "") for layer in ("core", "eventsourcing", "messaging", "saga", "telemetry", "unit_of_work")),
        ("processing", ""),
        ("adapters/memory", ""),
        ("adapters/postgres", "postgres"),
        ("relay", "nats,postgres"),
        ("adapters/nats", "nats"),
        ("web", "web"),
        ("host", "host"),
        ("testing", "testing"),
    ],
)
def test_a_layer_imports_only_what_its_extras_install(layer: str, extras: str) -> None:
    owners = packages_distributions()
    needed = {
        module: {owner.lower().replace("_", "-") for owner in owners[module]} for module in imported_in(LIBRARY / layer)
    }
    installed = required_with(extras)
    if "fastapi" in installed:
        installed.add("starlette")  # which FastAPI is a part of, and follows the version of
    assert {module: owner for module, owner in needed.items() if not owner & installed} == {}


def test_its_names_are_there_at_run_time_as_for_type_checkers() -> None:
    blocks = [node for node in ast.parse((LIBRARY / "__init__.py").read_text()).body if isinstance(node, ast.If)]
    checked = {
        alias.name: node.module for node in blocks[0].body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert checked == shared._HOMES
    for name, home in checked.items():
        assert getattr(shared, name) is getattr(import_module(str(home)), name)
    assert set(checked) <= set(dir(shared))


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        shared.Nothing  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_alone_imports_nothing() -> None:
    code = "import sys; import shared; print(sorted(name for name in sys.modules if name.startswith('shared.')))"
    printed = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
