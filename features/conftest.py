"""What the scenarios run on, and which of them can run there.

pytest features                       all services in this process, in memory
pytest features --real                the real processes on PostgreSQL and NATS
pytest features --url-base URL        a system that runs already, at its usual ports (and FTGO_PORT_OFFSET)
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_bdd.parser import Feature, Scenario, Step

from features.backends import HttpBackend, MemoryBackend
from features.world import World
from kernel.topology import BY_NAME
from shared.testing.adversity import Adversity
from shared.testing.system import MemorySystem
from tests.support.infra import Infra
from tests.support.processes import running_system
from tools.system.places import of_host
from tools.system.system import SystemSettings
from tools.verify.facts import Finding
from tools.verify.invariants import verify
from tools.verify.memory import MemorySystemState

STEPS = sorted(path.stem for path in (Path(__file__).parent / "steps").glob("[!_]*.py"))
TAGS = {
    **{name: f"of the {name.replace('_', ' ')} service" for name in BY_NAME},
    "command": "somebody wants something done",
    "query": "somebody wants to know something",
    "saga": "several services agree on something, or undo what they have begun",
    "policy": "one thing follows from another by itself",
    "own_system": "needs a system that nobody else uses: it stops services, or knows all couriers",
}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the tags, and make the steps known: they are fixtures, so their modules are plugins."""
    for tag, meaning in TAGS.items():
        config.addinivalue_line("markers", f"{tag}: {meaning}")
    for name in STEPS:
        config.pluginmanager.import_plugin(f"features.steps.{name}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what can't run on somebody else's system; pytest counts it as deselected."""
    if config.getoption("url_base"):
        out = [item for item in items if item.get_closest_marker("own_system")]
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=out)


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """Provide the event loop of all scenarios."""
    with asyncio.Runner() as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_system(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[HttpBackend]:
    """Provide one running system for all scenarios: the one at `--url-base`, or one started for them."""
    base: str | None = request.config.getoption("url_base")
    if base is not None:
        backend = HttpBackend(of_host(base, None, SystemSettings().port_offset).urls)
        yield backend
        runner.run(backend.close())
        return
    infra: Infra = request.getfixturevalue("infra")
    with running_system(infra) as system:
        backend = HttpBackend(system.urls, system)
        yield backend
        runner.run(backend.close())


@pytest.fixture(scope="session")
def memory_system(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[MemorySystem]:
    """Provide the system in this process."""
    option = request.config.getoption
    system = MemorySystem(BY_NAME, adversity=Adversity.of(option("adversity"), option("seed")))
    runner.run(system.__aenter__())
    yield system
    runner.run(system.__aexit__(None, None, None))


@pytest.fixture
def world(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[World]:
    """Provide a scenario's world. In memory, each starts with an empty system; a running system keeps earlier data."""
    if request.config.getoption("real") or request.config.getoption("url_base"):
        world = World(request.getfixturevalue("shared_system"), runner)
        yield world
        world.leave()
        return
    system: MemorySystem = request.getfixturevalue("memory_system")
    runner.run(system.start_over())
    world = World(MemoryBackend(system), runner)
    yield world
    world.leave()
    findings = runner.run(_findings(system))
    assert not findings, "\n".join(f"{each.invariant} {each.text} {each.ids}" for each in findings)


async def _findings(system: MemorySystem) -> list[Finding]:
    """Let the system come to rest after a scenario, and check the invariants."""
    await system.settle(patience=timedelta(minutes=10))
    databases = {name: service.database for name, service in system.services.items()}
    return await verify(MemorySystemState(databases, system.broker))


def pytest_bdd_after_step(request: pytest.FixtureRequest, feature: Feature, scenario: Scenario, step: Step) -> None:
    """Check that a scenario that ends with a refusal says so."""
    if step is scenario.steps[-1]:
        request.getfixturevalue("world").require_no_refusal()
