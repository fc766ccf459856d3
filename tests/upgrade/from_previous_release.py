"""Upgrades from the previous release while orders flow: with everything stopped, and one program after the other.

`.ci/upgrade` runs it. It is not among the tests that `./ftgo test` finds, as it needs the project's history.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from kernel.releases import RELEASES
from kernel.topology import BY_NAME, SERVICES
from tests.support.old_data import run_sql
from tools.chaos.load import Load
from tools.chaos.run import SHORT, AnyReplica
from tools.demo.api import Api
from tools.system.process import Program
from tools.system.system import (
    RELAY,
    ROOT,
    Arrangement,
    System,
    SystemSettings,
    part_name,
    remove_data,
    system_on_free_ports,
)
from tools.verify.command import when_at_rest
from tools.verify.running import running_state

RATE = 8.0
"""Orders a second."""
ORDERS = 40
"""How many are to be placed before, beside, and after what happens."""
PATIENCE = 90.0
LIMIT = 300
PROGRAMS = (RELAY, *BY_NAME)
PARTITIONS = 2
"""Two, so that replicas of both releases read the stream."""

pytestmark = pytest.mark.time_limit(LIMIT)

CURRENT, PREVIOUS = RELEASES.known[-1], RELEASES.known[-2]

TWICE = "select key from sagas where type = 'order.CreateOrderSaga' group by key having count(*) > 1"


@pytest.fixture(scope="module")
def previous() -> Iterator[Path]:
    """The previous release's files, out of the history, ready to run."""
    found = subprocess.run(["git", "cat-file", "-e", f"{PREVIOUS.commit}^{{commit}}"], cwd=ROOT, check=False)
    if found.returncode != 0:
        pytest.fail(
            f"the commit of {PREVIOUS.version}, {PREVIOUS.commit}, is not in this clone:"
            " it needs the whole history (git fetch --unshallow)"
        )
    with tempfile.TemporaryDirectory(prefix="ftgo-previous-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's own user passes through, where we are root
        packed = subprocess.run(["git", "archive", PREVIOUS.commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "--extract", "--directory", name], input=packed.stdout, check=True)
        if (folder / "requirements.lock").read_bytes() == (ROOT / "requirements.lock").read_bytes():
            (folder / ".venv").symlink_to(ROOT / ".venv")
        subprocess.run(["./ftgo", "--help"], cwd=folder, check=True, capture_output=True)  # makes its environment
        yield folder


@dataclass
class Servers:
    """Where one system's data are and its programs listen, whichever release they are of."""

    folder: Path
    settings: SystemSettings
    stack: ExitStack

    @property
    def system(self) -> System:
        """As this release sees the system that runs, once it has made its passwords.

        By TCP: the previous release has its Unix socket somewhere else.
        """
        port = self.settings.postgres_port + self.settings.port_offset
        second = (part_name(program, 2) for program in PROGRAMS)
        return System(self.settings, Arrangement(postgres_ports=dict.fromkeys(second, port)))

    async def begin(self) -> None:
        """Wait until PostgreSQL and NATS take connections. TimeoutError."""
        await until((self.folder / "secrets.json").exists)  # made by whichever release starts first
        await until(self.system.postgres.ready)
        await until(self.system.nats.ready)

    def start(self, checkout: Path, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start `./ftgo` of a release."""
        environment = {
            **os.environ,
            **SHORT,
            "FTGO_DATA_DIR": str(self.folder),
            "FTGO_PORT_OFFSET": str(self.settings.port_offset),
            "FTGO_PARTITIONS": str(PARTITIONS),
        }
        program = Program(" ".join(arguments), (str(checkout / "ftgo"), *arguments), environment, checkout)
        return self.run(program)

    def run(self, program: Program) -> "subprocess.Popen[bytes]":
        """Start a program, which ends with the test."""
        with (self.folder / "said.log").open("ab") as output:
            process = subprocess.Popen(program.argv, stdout=output, stderr=output, **program.options())
        self.stack.callback(_end, process)
        return process

    def url(self, program: str, replica: int = 1) -> str:
        """Where a service, or the relay, listens."""
        system = self.system
        port = system.relay_port(replica) if program == RELAY else system.port(BY_NAME[program], replica)
        return system.url(port)


@contextmanager
def new_servers() -> Iterator[Servers]:
    """A folder and ports for one system, and the end of all its programs. The folder is kept when something fails."""
    folder = Path(tempfile.mkdtemp(prefix="ftgo-upgrade-"))
    folder.chmod(0o711)
    settings = system_on_free_ports(folder).settings.model_copy(update={"partitions": PARTITIONS})
    remove_data(folder)  # the passwords: the previous release is to make its own
    print(f"data and logs are kept in {folder}")
    with ExitStack() as stack:
        yield Servers(folder, settings, stack)
    remove_data(folder)
    shutil.rmtree(folder)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)


async def ready(urls: Sequence[str]) -> None:
    """Return when all of them are. TimeoutError."""
    await _until_each_says(urls, '"ready"')


async def refused(urls: Sequence[str]) -> None:
    """Return when all of them wait for what they must not run beside. TimeoutError."""
    await _until_each_says(urls, f"must not run beside {CURRENT.version}")


async def _until_each_says(urls: Sequence[str], text: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client, asyncio.timeout(PATIENCE):
        for url in urls:
            while text not in await _readyz(client, url):
                await asyncio.sleep(0.1)


async def _readyz(client: httpx.AsyncClient, url: str) -> str:
    try:
        return (await client.get(f"{url}/readyz")).text
    except httpx.TransportError:
        return ""


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as it is true. TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def load_on(servers: Servers, replicas: int) -> AsyncIterator[Load]:
    """Clients that go on whatever happens, at all replicas. Everything has ended as it should at the end."""
    async with AsyncExitStack() as stack:
        clients = {
            service.name: [
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=servers.url(service.name, replica), trust_env=False, timeout=5)
                )
                for replica in range(1, replicas + 1)
            ]
            for service in SERVICES
        }
        load = Load(Api(AnyReplica(clients), lambda: asyncio.sleep(0.1)), "upgrade", RATE)
        await load.open_town()
        loading = asyncio.create_task(load.run())
        try:
            yield load
        finally:
            load.enough()
            await loading


async def placed(load: Load, more: int = ORDERS) -> None:
    """Return when so many more orders have been placed."""
    before = len(load.record.placed)
    await until(lambda: len(load.record.placed) >= before + more)


async def verified(servers: Servers, load: Load) -> None:
    """The system comes to rest, and holds; the clients know of nothing that is lost or was done twice."""
    system = servers.system
    databases = [system.database(service) for service in SERVICES]
    unrest, findings = await when_at_rest(databases, system.nats_address, PATIENCE)
    async with running_state(databases, system.nats_address) as state:
        findings = [*findings, *await load.record.compare(state)]
    assert (unrest, findings) == ("", [])
    assert run_sql(system.database(BY_NAME["order"]).url, TWICE) == []


async def test_what_the_previous_release_was_killed_with_is_ended_by_this_one(previous: Path) -> None:
    with new_servers() as servers:
        old = servers.start(previous, "up")
        await servers.begin()
        await ready([servers.url(program) for program in PROGRAMS])
        async with load_on(servers, replicas=1) as load:
            await placed(load)
            old.kill()
            old.wait()
            servers.start(ROOT, "up")
            await servers.begin()
            await load.probe()
            await placed(load)
        await verified(servers, load)


async def test_this_release_takes_over_one_program_after_the_other(previous: Path) -> None:
    """Beside the previous one, where it may run there, and otherwise when that has been stopped."""
    with new_servers() as servers:
        servers.start(previous, "up", *(argument for program in PROGRAMS for argument in ("--without", program)))
        await servers.begin()
        old = [servers.start(previous, RELAY), *(servers.start(previous, "service", name) for name in BY_NAME)]
        await ready([servers.url(program) for program in PROGRAMS])
        async with load_on(servers, replicas=2) as load:
            await placed(load)
            for program in _second_replicas(servers.system):
                servers.run(program)
            if PREVIOUS.number >= CURRENT.beside:
                await ready([servers.url(program, 2) for program in PROGRAMS])
                await placed(load)
                await ready([servers.url(program) for program in PROGRAMS])  # the old ones are none the worse
            else:
                await refused([servers.url(program, 2) for program in BY_NAME])
            await placed(load)
            for process in old:
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, PATIENCE) == 0
            await ready([servers.url(program, 2) for program in PROGRAMS])
            await load.probe()
            await placed(load)
        await verified(servers, load)


def _second_replicas(system: System) -> Iterator[Program]:
    """This release's programs, beside those that listen on the usual ports."""
    publishing = [service for service in SERVICES if service.publishes]
    for program in (
        system.relay_program(publishing, 2),
        *(system.service_program(service, 2) for service in SERVICES),
    ):
        yield Program(program.name, program.argv, {**program.env, **SHORT}, program.cwd)
