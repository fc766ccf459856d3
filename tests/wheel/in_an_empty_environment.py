"""The distribution `ftgo-shared`, as somebody has it who knows nothing of this repository.

`.ci/wheel` runs it. It is not among the tests that `./ftgo test` finds, as it installs packages.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from shared.examples.tests.processes import Python, lending, lends_a_book, publishes_and_receives
from tests.support.infra import Infra, NatsServer

ROOT = Path(__file__).resolve().parents[2]
NewNats = Callable[[], NatsServer]

# Imports every module in the packages that the arguments name.
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        # Alembic runs these.
        if ".migrations" not in found.name and not found.name.endswith("alembic.env"):
            importlib.import_module(found.name)
"""
BASE = [
    f"shared.{layer}"
    for layer in (
        "core",
        "eventsourcing",
        "messaging",
        "saga",
        "telemetry",
        "unit_of_work",
        "processing",
        "adapters.memory",
    )
]
LAYERS = {
    "": BASE,
    "[postgres]": [*BASE, "shared.adapters.postgres"],
    "[nats]": [*BASE, "shared.adapters.nats"],
    "[nats,postgres]": ["shared.relay"],
    "[web]": [*BASE, "shared.web"],
    "[host]": [*BASE, "shared.host", "shared.examples"],
    "[testing]": [*BASE, "shared.testing"],
}
"""What can be imported with which extras."""

pytestmark = pytest.mark.time_limit(180)


def uv(*arguments: str | Path) -> None:
    program = shutil.which("uv") or ROOT / ".ftgo" / "uv" / "bin" / "uv"
    subprocess.run([program, *arguments], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", folder, "shared")
    (made,) = folder.glob("*.whl")
    return made


def installed(wheel: Path, extras: str, folder: Path) -> Python:
    """Make an environment with the wheel, and nothing that this repository asks for beside it."""
    environment = folder / "environment"
    uv("venv", "--quiet", "--python", sys.executable, environment)
    # The versions are those that the project is tested with.
    requirement = f"ftgo-shared{extras} @ {wheel.as_uri()}"
    executable = environment / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", executable, "--constraint", "requirements.lock", requirement)
    return Python(executable, folder)


def test_it_has_the_library_and_no_tests(wheel: Path) -> None:
    with ZipFile(wheel) as files:
        names = files.namelist()
    assert {"shared/__init__.py", "shared/py.typed", "shared/examples/outbox.py"} <= set(names)
    assert not [name for name in names if "tests/" in name or not name.startswith(("shared/", "ftgo_shared-"))]


@pytest.mark.parametrize("extras", LAYERS)
def test_a_layer_needs_nothing_but_its_extras(extras: str, wheel: Path, tmp_path: Path) -> None:
    python = installed(wheel, extras, tmp_path)
    # The example reads its addresses when it is imported, and connects later.
    settings = {"DATABASE_URL": "postgresql://nowhere/none", "NATS_URL": "nats://nowhere"}
    subprocess.run(
        [python.executable, "-c", IMPORT_ALL, *LAYERS[extras]], cwd=tmp_path, env={**os.environ, **settings}, check=True
    )


async def test_outbox_relay_and_inbox_work_in_a_service_of_ones_own(
    wheel: Path, tmp_path: Path, infra: Infra, new_nats: NewNats
) -> None:
    python = installed(wheel, "[nats,postgres,web]", tmp_path)
    await publishes_and_receives(python, infra, new_nats().url)


async def test_services_run_a_saga(wheel: Path, tmp_path: Path, infra: Infra, new_nats: NewNats) -> None:
    async with lending(installed(wheel, "[host]", tmp_path), infra, new_nats().url) as clients:
        await lends_a_book(clients)
