"""The project's pytest plugin: coroutine tests with a time limit, and fixtures with real PostgreSQL and NATS.

Fixtures are synchronous. What needs an event loop (pools, clients) is opened within the test.
"""

import asyncio
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import hypothesis
import pytest
import structlog

import kernel.environment  # noqa: F401 - as the programs that are tested have it
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database
from tests.support.infra import Infra, NatsServer, running_infra

TIME_LIMIT = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what the features can run on, and what is simulated. Here: pytest must know options before it finds
    their folder."""
    parser.getgroup("ftgo-servers", "the servers").addoption(
        "--containers", action="store_true", help="run PostgreSQL and NATS as containers instead of from the wheels"
    )
    group = parser.getgroup("ftgo", "the features")
    group.addoption(
        "--real", action="store_true", help="run them on real processes, PostgreSQL and NATS instead of in memory"
    )
    group.addoption(
        "--adversity",
        default="",
        metavar="WHAT",
        help="what goes wrong in memory, some of: duplicates,reorder,delay,crash",
    )
    group.addoption("--seed", type=int, help="of what goes wrong; another one each time, and printed, if not given")
    group.addoption("--simulations", type=int, default=100, help="how many lives of the system are simulated")
    group.addoption("--simulation-seed", type=int, default=1, help="the first one's seed; the next has the next")
    group.addoption("--url-base", metavar="URL", help="run them against a running system, such as http://127.0.0.1")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what goes wrong."""
    return _adversity(config)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    """Say how to have the same go wrong again, where nobody can miss it."""
    if exitstatus != pytest.ExitCode.OK:
        for line in _adversity(config):
            terminalreporter.write_line(line, red=True)


def _adversity(config: pytest.Config) -> list[str]:
    switches, seed = config.getoption("adversity"), config.getoption("seed")
    return [f"adversity: {switches}; the same again: --adversity {switches} --seed {seed}"] if switches else []


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, draw the seed, and keep tests from depending on how busy the machine is."""
    if config.getoption("containers"):
        # Imported here: few runs need it, and it takes its time.
        from tests.support.containers import why_not

        if reason := why_not():
            raise pytest.UsageError(f"--containers needs a Docker engine, and none can be reached: {reason}")
    if config.getoption("seed") is None:
        config.option.seed = random.SystemRandom().randrange(1 << 32)
    hypothesis.settings.register_profile("unhurried", deadline=None)
    hypothesis.settings.load_profile("unhurried")
    # With structlog's own defaults a traceback takes seconds: it shows the values of all variables.
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])
    config.addinivalue_line("markers", "time_limit(seconds): how long an async test may take, instead of 60 s")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function in an event loop of its own, TimeoutError when it takes too long."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    marker = pyfuncitem.get_closest_marker("time_limit")
    seconds = marker.args[0] if marker else TIME_LIMIT
    # Only what its signature names: autouse fixtures are in funcargs too.
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await pyfuncitem.obj(**arguments)

    with asyncio.Runner() as runner:
        runner.run(limited())
    return True


@pytest.fixture(scope="session")
def infra(pytestconfig: pytest.Config) -> Iterator[Infra]:
    """PostgreSQL and NATS, started when the first test asks for them."""
    start = running_infra
    if pytestconfig.getoption("containers"):
        from tests.support.containers import containers as start
    with start() as running:
        yield running


@pytest.fixture(scope="session")
def nats_url(infra: Infra) -> str:
    """The broker that all tests share."""
    return infra.nats_url


@pytest.fixture
def new_nats(infra: Infra) -> Iterator[Callable[[], NatsServer]]:
    """Return a function that gives an empty nats-server of the test's own."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(infra.nats())


@pytest.fixture
def new_database(infra: Infra) -> Iterator[Callable[[str | ServiceInfo], Database]]:
    """Return a function that gives a fresh database for a service; it's dropped after the test."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(infra.database(service))
