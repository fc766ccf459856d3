"""The whole system on one machine: which programs there are, with which settings, passwords and ports.

Its data, logs, passwords and state are in one folder, `.ftgo` of the project.
"""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

import httpx
import psycopg2
from pydantic import Field, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from typing_extensions import TypedDict

from cdc.nats_users import ALL_RELAYS, OPERATOR, nats_users
from kernel.topology import FTGO, SERVICES
from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.nats.stream import stored_partitions
from shared.core.releases import WrongRelease
from shared.core.service_info import ServiceInfo
from shared.host.provision import ROLE_CONNECTIONS, Database, addresses, provision, require_usable, roles_of
from shared.host.settings import PoolSettings, RelaySettings, secrets_dir
from tools.system.connections import Connections, needed, shortage
from tools.system.embedded.nats import Nats
from tools.system.embedded.postgres import Postgres, remove_databases
from tools.system.owner import OWNER_FILE, remove
from tools.system.process import LaunchError, Program, require_free_port
from tools.system.run_state import STATE_FILE, locked, read_state
from tools.system.supervisor import Group, Part, Supervisor, blocking_probe, http_probe

ROOT = Path(__file__).resolve().parents[2]
RELAY = "relay"
MAX_REPLICAS = 9
_REPLICA_PORTS = 100
"""From one replica of a program to the next."""
ADMIN_PORTS = 50
"""From a service's port to that of its /admin."""
_FREE_OFFSETS = range(2000, 17000)
"""Where to look for free ports: below those that connections are given by themselves."""


class SystemSettings(BaseSettings):
    """What `./ftgo up` and the commands beside it read. The services' own settings are passed on to them."""

    model_config = SettingsConfigDict(
        env_prefix=FTGO.environment_prefix, secrets_dir=secrets_dir(FTGO), extra="ignore", hide_input_in_errors=True
    )

    data_dir: Path = Field(ROOT / ".ftgo", description="Folder for data, logs, passwords and state.")
    host: str = Field("127.0.0.1", description="Address that the services' HTTP servers listen on.")
    port_offset: int = Field(0, ge=0, le=40000, description="Added to every port, to run beside another copy.")
    postgres_port: int = Field(15432, description="Port of the embedded PostgreSQL.")
    nats_port: int = Field(14222, description="Port of the embedded NATS.")
    nats_monitor_port: int = Field(14322, description="Port of its HTTP monitoring: whether it can go on.")
    partitions: int = Field(1, ge=1, le=64, description="Partitions of the stream; the same in every process.")

    @field_validator("data_dir", mode="before")
    @classmethod
    def _is_named(cls, folder: Any) -> Any:
        if folder == "":
            raise ValueError("it is empty: name a folder, or unset it")
        return folder

    @field_validator("data_dir")
    @classmethod
    def _from_the_root(cls, folder: Path) -> Path:
        return folder.absolute()


class _KeptSecrets(TypedDict, total=False):
    admin: str
    nats: dict[str, str] | str
    roles: dict[str, str]


@dataclass(frozen=True)
class Secrets:
    """Passwords of the embedded servers, made once and kept in a file that only its owner reads."""

    admin: str
    nats: dict[str, str]
    roles: dict[str, str]

    @classmethod
    def of(cls, folder: Path) -> "Secrets":
        """Read the folder's secrets.json; make it, or add what a newer version needs."""
        file = folder / "secrets.json"
        try:
            kept = TypeAdapter(_KeptSecrets).validate_json(file.read_bytes())
        except FileNotFoundError:
            kept = {}
        except ValidationError:
            raise LaunchError(f"{file} is damaged: bring it back, or remove the data with ./ftgo reset") from None
        roles, users = kept.get("roles", {}), kept.get("nats", {})
        if isinstance(users, str):  # from before each program had its own user
            users = {OPERATOR: users}
        found = cls(
            admin=kept.get("admin") or secrets.token_urlsafe(24),
            nats={user.name: users.get(user.name) or secrets.token_urlsafe(24) for user in nats_users()},
            roles={role: roles.get(role) or secrets.token_urlsafe(24) for each in SERVICES for role in roles_of(each)},
        )
        if vars(found) != kept:
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
                json.dump(vars(found), output, indent=2)
            unfinished.replace(file)
        return found


def _nothing_of_its_own(_part: str) -> Mapping[str, str]:
    return {}


def _no_wrapper(_part: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """How the system differs from the default of one replica of each program.

    `without` names services, or the relay, left out. `replicas` is the number of replicas of a service or the relay;
    a part's name is the program's, with a number from the second replica on. `variables` are a part's own environment,
    requested at each start, and `runner` is a module that runs the part's module. `wrapper` is a command
    that runs a part, or PostgreSQL; it is not forked then. `postgres_ports` and `nats_ports` are where parts, by
    name, look for the servers, if not on the servers' own ports.
    """

    without: Collection[str] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)
    variables: Callable[[str], Mapping[str, str]] = _nothing_of_its_own
    runner: str | None = None
    wrapper: Callable[[str], Sequence[str]] = _no_wrapper
    postgres_ports: Mapping[str, int] = field(default_factory=dict)
    nats_ports: Mapping[str, int] = field(default_factory=dict)
    postgres_settings: Mapping[str, str | int] = field(default_factory=dict)
    nats_settings: str = ""
    nats_sync_interval: str | None = None

    def replicas_of(self, program: str) -> Sequence[int]:
        """Return the numbers of a program's replicas."""
        return () if program in self.without else range(1, self.replicas.get(program, 1) + 1)


class OtherPartitions(LaunchError):
    """The stream was created with a different partition count. `stored` is the stream's count."""

    def __init__(self, stored: int, wanted: int) -> None:
        super().__init__(
            f"the stream was made with {stored} partitions, not {wanted}: start with --partitions {stored},"
            f" or drain it and change that with ./ftgo repartition {wanted}"
        )
        self.stored = stored


def part_name(program: str, replica: int) -> str:
    """Return the part name of a replica."""
    return program if replica == 1 else f"{program}-{replica}"


def program_of(part: str) -> str:
    """Return which program a part is a replica of."""
    return part.partition("-")[0]


class System:
    """The embedded system of one folder."""

    def __init__(self, settings: SystemSettings | None = None, arrangement: Arrangement | None = None) -> None:
        """Read the settings from the environment unless they are given."""
        self.settings = settings or SystemSettings()
        self.arrangement = arrangement or Arrangement()
        self.folder = self.settings.data_dir.absolute()
        self.secrets = Secrets.of(self.folder)
        offset = self.settings.port_offset
        self.postgres = Postgres(
            self.folder / "postgres",
            self.settings.postgres_port + offset,
            self.secrets.admin,
            settings=self.arrangement.postgres_settings,
        )
        self.nats = Nats(
            self.folder / "nats",
            self.settings.nats_port + offset,
            self.secrets.nats,
            self.settings.nats_monitor_port + offset,
            sync_interval=self.arrangement.nats_sync_interval,
            settings=self.arrangement.nats_settings,
        )

    def database(self, service: ServiceInfo) -> Database:
        """Return the addresses of a service's database."""
        return addresses(self.postgres.admin_url, service, self.secrets.roles)

    @property
    def nats_address(self) -> NatsAddress:
        """NATS' address, with the operators' user."""
        return NatsAddress(self.nats.url, FTGO, OPERATOR, self.secrets.nats[OPERATOR])

    def port(self, service: ServiceInfo, replica: int = 1) -> int:
        """Return the port of a service's HTTP API."""
        return service.port + _REPLICA_PORTS * (replica - 1) + self.settings.port_offset

    def admin_port(self, service: ServiceInfo, replica: int = 1) -> int:
        """Return the port of a service's /admin."""
        return self.port(service, replica) + ADMIN_PORTS

    def relay_port(self, replica: int = 1) -> int:
        """Return the port of a relay's /readyz and /metrics."""
        default: int = RelaySettings.model_fields["port"].default
        return default + _REPLICA_PORTS * (replica - 1) + self.settings.port_offset

    def url(self, port: int) -> str:
        """Return the address of one of our HTTP servers, as this machine reaches it."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on
        host = everywhere.get(self.settings.host, self.settings.host)
        return f"http://{host}:{port}"

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each service, or of its first replica."""
        return {each.name: self.url(self.port(each)) for each in SERVICES}

    def parts_of(self, program: str) -> list[str]:
        """Return the names of a program's replicas."""
        return [part_name(program, replica) for replica in self.arrangement.replicas_of(program)]

    def service_program(self, service: ServiceInfo, replica: int = 1) -> Program:
        """Return how one service runs against the embedded servers."""
        part = part_name(service.name, replica)
        return self._program(part, service.name, (service.name,), **self._service_settings(part, service, replica))

    def rebuild_program(self, service: ServiceInfo) -> Program:
        """Return the program that rebuilds a service's tables; it has the service's settings."""
        settings = self._service_settings("rebuild", service)
        return self._program("rebuild", service.name, (f"{service.name}.rebuild",), **settings)

    def relay_program(self, services: Sequence[ServiceInfo], replica: int = 1) -> Program:
        """Return how one relay process for the services' databases runs against the embedded servers."""
        part = part_name(RELAY, replica)
        urls = {f"FTGO_RELAY_URL_{each.name.upper()}": self._reached(part, each).relay_url for each in services}
        names = tuple(each.name for each in services)
        module = ("cdc", "--keep-stream", *names)
        return self._program(part, ALL_RELAYS, module, FTGO_PORT=str(self.relay_port(replica)), **urls)

    def _service_settings(self, part: str, service: ServiceInfo, replica: int = 1) -> dict[str, str]:
        database = self._reached(part, service)
        return {
            "FTGO_PORT": str(self.port(service, replica)),
            "FTGO_ADMIN_PORT": str(self.admin_port(service, replica)),
            "FTGO_DATABASE_URL": database.url,
            "FTGO_MIGRATIONS_URL": database.migrations_url,
        }

    def _reached(self, part: str, service: ServiceInfo) -> Database:
        """Return the addresses of a service's database as a part uses them."""
        port = self.arrangement.postgres_ports.get(part)
        server_url = self.postgres.socket_url if port is None else replace(self.postgres, port=port).admin_url
        return addresses(server_url, service, self.secrets.roles)

    def _program(self, part: str, nats_user: str, module: tuple[str, ...], **settings: str) -> Program:
        arrangement = self.arrangement
        environment = {
            **os.environ,
            "FTGO_HOST": self.settings.host,
            "FTGO_NATS_URL": replace(self.nats, port=arrangement.nats_ports.get(part, self.nats.port)).url,
            "FTGO_NATS_USER": nats_user,
            "FTGO_NATS_PASSWORD": self.secrets.nats[nats_user],
            "FTGO_PARTITIONS": str(self.settings.partitions),
            "PYTHONUNBUFFERED": "1",  # so that the last output before a crash is in the log
            **settings,
            **arrangement.variables(part),
        }
        runner = () if arrangement.runner is None else (arrangement.runner,)
        return self._wrapped(Program(part, (sys.executable, "-m", *runner, *module), environment, ROOT))

    def _wrapped(self, program: Program) -> Program:
        return replace(program, argv=(*self.arrangement.wrapper(program.name), *program.argv))

    def groups(self, client: httpx.AsyncClient) -> list[Group]:
        """Return all programs in the order in which they start."""
        self._needed_connections()
        arrangement = self.arrangement
        services = [
            self._service(each, replica, client) for each in SERVICES for replica in arrangement.replicas_of(each.name)
        ]
        relays = [self._relay(replica, client) for replica in arrangement.replicas_of(RELAY)]
        postgres = Part(
            "postgres",
            lambda: self._wrapped(self.postgres.program()),
            self.postgres.port,
            blocking_probe(self.postgres.ready),
            f"postgresql://127.0.0.1:{self.postgres.port}",
            stuck=partial(asyncio.to_thread, self.postgres.stuck),
        )
        nats = Part(
            "nats",
            self.nats.program,
            self.nats.port,
            blocking_probe(self.nats.ready),
            self.nats.url,
            stuck=partial(asyncio.to_thread, self.nats.stuck),
        )
        return [
            Group([postgres], essential=True, prepare=self.postgres.prepare, finish=self._provision),
            Group([nats], essential=True, prepare=self.nats.prepare, finish=self._check_partitions),
            Group(relays),
            Group(services),
        ]

    def ports(self) -> Iterator[tuple[str, int]]:
        """Yield each port that is listened on, with the part's name."""
        yield "postgres", self.postgres.port
        yield "nats", self.nats.port
        yield "nats", self.settings.nats_monitor_port + self.settings.port_offset
        for replica in self.arrangement.replicas_of(RELAY):
            yield part_name(RELAY, replica), self.relay_port(replica)
        for service in SERVICES:
            for replica in self.arrangement.replicas_of(service.name):
                name = part_name(service.name, replica)
                yield name, self.port(service, replica)
                yield name, self.admin_port(service, replica)

    def supervisor(self, client: httpx.AsyncClient, console: Console, **options: Any) -> Supervisor:
        """Return the supervisor of the whole system; `client` is used to ask the programs whether they're ready."""
        settings = {"port_offset": self.settings.port_offset, "partitions": self.settings.partitions}
        return Supervisor(self.groups(client), self.folder, console, settings=settings, **options)

    def _service(self, service: ServiceInfo, replica: int, client: httpx.AsyncClient) -> Part:
        name = part_name(service.name, replica)
        return self._http_part(
            name, lambda: self.service_program(service, replica), self.port(service, replica), client
        )

    def _relay(self, replica: int, client: httpx.AsyncClient) -> Part:
        services = [each for each in SERVICES if each.publishes]
        name = part_name(RELAY, replica)
        return self._http_part(name, lambda: self.relay_program(services, replica), self.relay_port(replica), client)

    def _http_part(self, name: str, program: Callable[[], Program], port: int, client: httpx.AsyncClient) -> Part:
        url = self.url(port)
        return Part(name, program, port, http_probe(client, f"{url}/readyz"), url, self.settings.host)

    def _needed_connections(self) -> Connections:
        """Return the most connections all programs can use. LaunchError if PostgreSQL has fewer: some would fail."""
        configured = self.postgres.configuration()
        there = Connections(int(configured["max_connections"]), int(configured["max_wal_senders"]))
        replicas = {each.name: len(self.arrangement.replicas_of(each.name)) for each in SERVICES}
        pools = PoolSettings(application=FTGO, partitions=self.settings.partitions)
        need = needed(replicas, len(self.arrangement.replicas_of(RELAY)), pools)
        if lacking := shortage(need, there):
            raise LaunchError(lacking)
        return need

    def _provision(self) -> None:
        most = max(ROLE_CONNECTIONS, self._needed_connections().sessions)
        try:
            provision(self.postgres.admin_url, self.secrets.roles, SERVICES, max_connections=most)
        except WrongRelease as error:
            raise LaunchError(str(error)) from None
        except psycopg2.Error as error:  # such as a full disk
            reason = str(error).strip().partition("\n")[0]
            raise LaunchError(f"the databases can't be made: {reason}: ./ftgo logs postgres tells more") from None

    def require_usable_data(self) -> None:
        """Raise LaunchError when the running system's data needs newer code than this."""
        try:
            require_usable(self.postgres.admin_url, map(self.database, SERVICES))
        except WrongRelease as error:
            raise LaunchError(str(error)) from None

    def _check_partitions(self) -> None:
        """Refuse a partition count that differs from the stream's: every program would keep failing with that error."""
        asyncio.run(self._compare_partitions())

    async def _compare_partitions(self) -> None:
        async with connect(self.nats_address) as connection:
            stored = await stored_partitions(connection)
        if stored is not None and stored != self.settings.partitions:
            raise OtherPartitions(stored, self.settings.partitions)


def system_on_free_ports(folder: Path, arrangement: Arrangement | None = None) -> System:
    """Return a system for a temporary folder, next to other systems. Raises LaunchError when no ports are free."""
    settings = SystemSettings(
        data_dir=folder,
        host="127.0.0.1",
        port_offset=0,
        postgres_port=15432,
        nats_port=14222,
        nats_monitor_port=14322,
        partitions=1,
    )
    return on_free_ports(settings, arrangement)


def on_free_ports(settings: SystemSettings, arrangement: Arrangement | None = None) -> System:
    """Return a system with these settings, but on other, free ports. Raises LaunchError when none are free."""
    for _ in range(50):
        offset = SystemRandom().choice(_FREE_OFFSETS)
        system = System(settings.model_copy(update={"host": "127.0.0.1", "port_offset": offset}), arrangement)
        try:
            for name, port in system.ports():
                require_free_port(port, name)
        except LaunchError:
            continue
        return system
    raise LaunchError("there are no free ports")


def running_system(settings: SystemSettings) -> System | None:
    """Return the system that runs in the settings' folder, with the ports and partitions it has; None if none does."""
    state = read_state(settings.data_dir)
    return None if state is None else System(settings.model_copy(update=state["settings"]))


def attached_system() -> System:
    """Return the running system. Raises LaunchError when none runs, or its data needs newer code than this."""
    system = running_system(SystemSettings())
    if system is None:
        raise LaunchError("nothing runs that it could use: start ./ftgo up first, or set FTGO_DATABASE_URL and so on")
    system.require_usable_data()
    return system


def remove_data(folder: Path) -> list[Path]:
    """Remove data, logs and passwords; return the targets of links that were kept, as they have other owners.

    Does nothing where no system was started. Raises LaunchError while the system runs.
    """
    if not any((folder / mark).exists() for mark in ("secrets.json", "lock", f"postgres/{OWNER_FILE}")):
        return []
    with locked(folder):
        left = [remove_databases(folder), remove(folder / "nats"), remove(folder / "logs")]
        for name in (f"{STATE_FILE}.new", "secrets.new", "secrets.json"):
            (folder / name).unlink(missing_ok=True)
    return [path for path in left if path is not None]
