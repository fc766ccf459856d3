"""One run: a system of its own, a load, a fault that is injected repeatedly, and checks afterwards."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import httpx
from rich.console import Console

from kernel.topology import SERVICES
from shared.core.tasks import beside
from tools.chaos import crash_points
from tools.chaos.fault import Fault
from tools.chaos.load import Load
from tools.chaos.outside import OutsideSupervisor
from tools.chaos.record import Record
from tools.chaos.world import PATIENCE, TooLate, World
from tools.demo.api import Api, Unexpected
from tools.system.process import LaunchError
from tools.system.supervisor import Supervisor, local_client
from tools.system.system import RELAY, Arrangement, System, remove_data, system_on_free_ports
from tools.terminal import Terminal
from tools.verify.command import when_at_rest
from tools.verify.facts import Finding
from tools.verify.running import running_state

SHORT: Mapping[str, str] = {
    "FTGO_LEASE_SECONDS": "2",
    "FTGO_GRACE_SECONDS": "20",  # so what a fault delays counts as late, and not as unknown
    "FTGO_RETRY_SECONDS": "0.2",
    "FTGO_STEP_TIMEOUT_SECONDS": "5",
    "FTGO_WAL_SENDER_TIMEOUT_SECONDS": "4",
    "FTGO_SHUTDOWN_SECONDS": "3",
}
"""Time-outs, leases and windows of every run: short, so that what takes minutes in production happens here too."""

ANSWER_SECONDS = 3.0
"""How long a client waits for an answer."""
SUPERVISOR_LOG = "supervisor.log"
DATA = "data"
"""The system's own folder, next to the log of its supervisor."""
_COUNT_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """How long the load runs at least, how many orders it places per second, and how often each fault is injected."""

    seed: int
    seconds: float
    rate: float
    times: int | None = None
    keep: bool = False


@dataclass
class Report:
    """The result of a run. `recovered` has the seconds that recovery took after each injection."""

    fault: type[Fault]
    folder: Path
    injected: int = 0
    recovered: list[float] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    duplicates: int = 0
    findings: list[Finding] = field(default_factory=list)
    complete: bool = False

    @property
    def passed(self) -> bool:
        """Whether all checks passed; for a control, whether at least one failed, as it must."""
        return self.complete and bool(self.findings) == self.fault.control


async def run(cls: type[Fault], options: Options, console: Console) -> Report:
    """Run a fault on a fresh system, whose folder is kept if it fails. Raises LaunchError when nothing even starts."""
    report = Report(cls, Path(tempfile.mkdtemp(prefix=f"ftgo-chaos-{cls.name}-")))
    report.folder.chmod(0o711)  # when we are root, PostgreSQL's own user must be able to enter
    fault = cls()
    try:
        async with _running(fault, report.folder, options) as world:
            report.record = world.load.record
            await _play(fault, world, options, report, console)
    except Unexpected as failure:
        raise LaunchError(f"{cls.name}: {failure}; data and logs are kept in {report.folder}") from None
    except BaseException:
        console.print(f"{cls.name}: data and logs are kept in {report.folder}", soft_wrap=True)
        raise
    if report.passed and not options.keep:
        remove_data(report.folder / DATA)
        shutil.rmtree(report.folder)
    return report


@asynccontextmanager
async def _running(fault: Fault, folder: Path, options: Options) -> AsyncIterator[World]:
    """The system, put together as the fault wants it, and a load that has not begun."""

    data = folder / DATA
    data.mkdir(mode=0o711)

    def variables(part: str) -> Mapping[str, str]:
        orders = {crash_points.VARIABLE: str(crash_points.orders_file(data, part))}
        return {**SHORT, **fault.settings, **orders}

    replicas = dict.fromkeys([RELAY, *(service.name for service in SERVICES)], fault.replicas)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(local_client())
        plain = Arrangement(replicas=replicas, variables=variables, runner=crash_points.MODULE)
        await fault.prepare(data, stack)
        system = system_on_free_ports(data, plain)
        system = System(system.settings, _over_tcp(system, await fault.arrange(system, stack)))
        said = stack.enter_context((folder / SUPERVISOR_LOG).open("w"))
        supervisor = system.supervisor(client, Terminal(file=said, width=500), longest_pause=1.0)
        outside = None
        if fault.outside:
            outside = OutsideSupervisor(system, {**SHORT, **fault.settings}, folder / SUPERVISOR_LOG)
        stack.push_async_callback(_end, supervisor, outside)
        api = Api(AnyReplica(await _clients(system, stack)), lambda: asyncio.sleep(0.1))
        world = World(system, supervisor, client, Load(api, f"{options.seed} {fault.name}", options.rate), outside)
        try:
            async with asyncio.timeout(3 * PATIENCE):
                await (supervisor.start() if outside is None else _start(world))
        except TimeoutError:
            raise LaunchError(f"the system does not start within {3 * PATIENCE:g} s") from None
        yield world


async def _start(world: World) -> None:
    await world.outside.start()
    await world.ready()


def _over_tcp(system: System, arrangement: Arrangement) -> Arrangement:
    """All parts reach PostgreSQL by TCP, not by its Unix socket: the client's port shows whose a session is."""
    parts = [part for program in (RELAY, *(each.name for each in SERVICES)) for part in system.parts_of(program)]
    ports = dict.fromkeys(parts, system.postgres.port)
    return replace(arrangement, postgres_ports={**ports, **arrangement.postgres_ports})


async def _clients(system: System, stack: AsyncExitStack) -> dict[str, list[httpx.AsyncClient]]:
    """Clients of each service, one per replica."""
    clients: dict[str, list[httpx.AsyncClient]] = {}
    for service in SERVICES:
        for replica in system.arrangement.replicas_of(service.name):
            url = system.url(system.port(service, replica))
            client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=ANSWER_SECONDS)
            clients.setdefault(service.name, []).append(await stack.enter_async_context(client))
    return clients


async def _end(supervisor: Supervisor, outside: OutsideSupervisor | None) -> None:
    """End all parts at once: their unfinished work is not needed."""
    if outside is not None:
        await outside.end()
        return
    supervisor.force()
    await supervisor.stop()


async def _play(fault: Fault, world: World, options: Options, report: Report, console: Console) -> None:
    """Run the load and the injections, and then check what must hold."""
    console.print(f"[dim]{fault.name}[/] the system runs, {len(world.parts)} processes")
    await world.load.open_town()
    await fault.begin(world)
    async with beside(_count(world)):
        loading = asyncio.create_task(world.load.run())
        try:
            await _inject(fault, world, options, report, console)
            await world.ready()
        except TooLate as late:
            report.findings.append(Finding("fault", f"{late}"))
        finally:
            world.load.enough()
            await asyncio.gather(loading, return_exceptions=True)
        loading.result()
    await _verify(fault, world, report)
    report.complete = True


async def _inject(fault: Fault, world: World, options: Options, report: Report, console: Console) -> None:
    """Inject the fault at random moments, each time after the system has recovered from the last one."""
    random = Random(f"{options.seed} {fault.name}")
    times = options.times or fault.times
    began = time.monotonic()
    for _ in range(times):
        await asyncio.sleep(random.uniform(0.2, 1.0) * options.seconds / times)
        await world.count_duplicates()
        try:
            async with asyncio.timeout(2 * PATIENCE):
                what = await fault.inject(world, random)
        except TimeoutError:
            raise TooLate(f"{fault.name} is not over after {2 * PATIENCE:g} s") from None
        report.injected += 1
        ended = time.monotonic()
        try:
            await world.load.probe()
        except Unexpected as failure:
            raise TooLate(f"after {what}: {failure}") from None
        report.recovered.append(time.monotonic() - ended)
        console.print(f"[dim]{fault.name}[/] {what}: recovered after {report.recovered[-1]:.1f} s", soft_wrap=True)
    await asyncio.sleep(max(0.0, began + options.seconds - time.monotonic()))


async def _verify(fault: Fault, world: World, report: Report) -> None:
    """Check the invariants, what the clients know, and what the fault itself checks."""
    databases = [world.system.database(service) for service in SERVICES]
    unrest, findings = await when_at_rest(databases, world.nats_address, PATIENCE)
    if unrest:
        report.findings.append(Finding("I2", f"the system does not come to rest: {unrest}"))
    report.findings += findings
    async with running_state(databases, world.nats_address) as state:
        report.findings += await world.load.record.compare(state)
    report.findings += [*world.findings, *await fault.check(world), *_ended_by_themselves(report.folder)]
    await world.count_duplicates()
    report.duplicates = world.duplicates


def _ended_by_themselves(folder: Path) -> list[Finding]:
    """Return findings for our programs that ended by themselves: whatever fails around them, they must wait."""
    text = (folder / SUPERVISOR_LOG).read_text()
    ended = (line for line in text.splitlines() if "ended (exit status" in line)
    found = [line.split(maxsplit=2)[1:] for line in ended]
    return [Finding("fault", what, (part,)) for part, what in found if part not in ("postgres", "nats")]


async def _count(world: World) -> None:
    while True:
        await world.count_duplicates()
        await asyncio.sleep(_COUNT_SECONDS)


class AnyReplica(Mapping[str, httpx.AsyncClient]):
    """Clients of services by name: each look-up returns that of another replica."""

    def __init__(self, clients: Mapping[str, Sequence[httpx.AsyncClient]]) -> None:
        self._clients = clients
        self._asked = dict.fromkeys(clients, 0)

    def __getitem__(self, service: str) -> httpx.AsyncClient:
        self._asked[service] += 1
        clients = self._clients[service]
        return clients[self._asked[service] % len(clients)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)
