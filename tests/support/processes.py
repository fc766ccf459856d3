"""The whole system as real processes on the session's PostgreSQL: for tests that speak to it over HTTP and break it.

with running_system(infra) as system:
    httpx.get(f"{system.urls['order']}/api/orders/...")
    system.kill("kitchen")
    system.start("kitchen")
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx

from cdc.nats_users import ALL_RELAYS, OPERATOR, nats_users
from kernel.topology import BY_NAME, FTGO
from shared.adapters.nats.connection import NatsAddress
from shared.host.provision import Database
from tests.support.infra import PASSWORD, Infra, NatsServer, Server
from tools.system.process import Program, free_port

ROOT = Path(__file__).resolve().parents[2]
RELAY = ALL_RELAYS

# What a service waits for before it gives up, short enough for a test.
QUICK: Mapping[str, str] = {"FTGO_GRACE_SECONDS": "1", "FTGO_RETRY_SECONDS": "0.1"}

_numbers = count(1)


@dataclass
class RunningSystem:
    """Services and their relay, by name; each has a database of its own, and they have a broker of their own.

    `urls` are the base addresses of the services and of the relay (`"relay"`).
    """

    urls: Mapping[str, str]
    databases: Mapping[str, Database]
    nats: NatsServer
    folder: Path
    servers: Mapping[str, Server]

    @property
    def nats_address(self) -> NatsAddress:
        """Where NATS is, and who operators are there."""
        return self.nats_address_of(OPERATOR)

    def nats_address_of(self, user: str) -> NatsAddress:
        """Where NATS is, for one of its users."""
        return NatsAddress(self.nats.url, FTGO, user, PASSWORD)

    def settings_of(self, service: str) -> dict[str, str]:
        """Environment variables with which another program can do what the service may."""
        database = self.databases[service]
        return {
            "FTGO_PORT": str(BY_NAME[service].port),
            "FTGO_DATABASE_URL": database.url,
            "FTGO_MIGRATIONS_URL": database.migrations_url,
            "FTGO_NATS_URL": self.nats.url,
            "FTGO_NATS_USER": service,
            "FTGO_NATS_PASSWORD": PASSWORD,
        }

    def kill(self, name: str) -> None:
        """End a process at once, as a crash would."""
        self.servers[name].kill()

    def stop(self, name: str) -> None:
        """End a process in good order."""
        self.servers[name].stop()

    def start(self, name: str) -> None:
        """Start a process that was killed or stopped, and wait until it is ready."""
        self.servers[name].start()

    def restart(self, name: str) -> None:
        """Stop and start a process."""
        self.servers[name].restart()

    def pause(self, name: str) -> None:
        """Let a process stand still; its connections stay open."""
        self.servers[name].pause()

    def resume(self, name: str) -> None:
        """Let a process go on that was paused."""
        self.servers[name].resume()

    def log(self, name: str) -> str:
        """What a process has written so far."""
        return self.servers[name].log.read_text(errors="replace")

    def client(self, service: str) -> httpx.AsyncClient:
        """A client of the service's HTTP API, to be closed by the caller."""
        return httpx.AsyncClient(base_url=self.urls[service], trust_env=False, timeout=30)


@contextlib.contextmanager
def running_system(
    infra: Infra, names: Iterable[str] = tuple(BY_NAME), settings: Mapping[str, str] = QUICK
) -> Iterator[RunningSystem]:
    """Start the services named and one relay for all of them; end them and drop their databases afterwards.

    `settings` are environment variables for each process.
    """
    services = [BY_NAME[name] for name in names]
    folder = infra.folder / f"system-{next(_numbers)}"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        databases = {each.name: stack.enter_context(infra.database(each)) for each in services}
        # With the rights of production, or nobody would notice one that is missing.
        nats = stack.enter_context(infra.nats(passwords={user.name: PASSWORD for user in nats_users()}))
        ports = dict(zip([RELAY, *databases], _free_ports(len(databases) + 1), strict=True))
        publishing = [each.name for each in services if each.publishes]
        variables = {name: {"FTGO_PORT": str(port), "FTGO_NATS_USER": name} for name, port in ports.items()}
        for name, database in databases.items():
            variables[name] |= {"FTGO_DATABASE_URL": database.url, "FTGO_MIGRATIONS_URL": database.migrations_url}
        variables[RELAY] |= {f"FTGO_RELAY_URL_{name.upper()}": databases[name].relay_url for name in publishing}
        # A developer's own settings are not for the tests' processes.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FTGO_")}
        common = {
            **inherited,
            **settings,
            "FTGO_NATS_URL": nats.url,
            "FTGO_NATS_PASSWORD": PASSWORD,
            "PYTHONUNBUFFERED": "1",
        }
        modules = {name: (name,) for name in databases} | {RELAY: ("cdc", "--keep-stream", *publishing)}
        servers: dict[str, Server] = {}
        for name, port in ports.items():
            program = Program(name, (sys.executable, "-m", *modules[name]), {**common, **variables[name]}, ROOT)
            servers[name] = Server(program, _probe(f"http://127.0.0.1:{port}/readyz"), folder / f"{name}.log")
            stack.callback(servers[name].kill)  # nobody needs what they have
        for server in servers.values():
            server.launch()
        for server in servers.values():
            server.wait_until_ready()
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        yield RunningSystem(urls, databases, nats, folder, servers)


@contextlib.contextmanager
def another_replica(system: RunningSystem, service: str, settings: Mapping[str, str] = QUICK) -> Iterator[str]:
    """Start another process of a service that runs; give its base address, and end it afterwards."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FTGO_")}
    environment = {**inherited, **settings, **system.settings_of(service), "FTGO_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    log = system.folder / f"{service}-{port}.log"
    server = Server(Program(service, (sys.executable, "-m", service), environment, ROOT), _probe(f"{url}/readyz"), log)
    server.start()
    try:
        yield url
    finally:
        server.kill()


def _probe(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            return httpx.get(url, trust_env=False, timeout=5).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return ready


def _free_ports(number: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < number:
        ports.add(free_port())
    return sorted(ports)
