"""The whole system on one machine: which programs there are, with which settings, passwords and ports.

Its data, logs, passwords and state are in one folder, `.ftgo` of the project.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field
from pydantic_settings import BaseSettings
from rich.console import Console

from shared.runtime.embedded import Nats, Postgres
from shared.runtime.process import LaunchError, Program
from shared.runtime.provision import Database, addresses, provision, roles_of
from shared.runtime.settings import RelaySettings, Settings
from shared.runtime.supervisor import Group, Part, Supervisor, blocking_probe, http_probe, locked, read_state
from shared.runtime.topology import SERVICES, ServiceInfo

ROOT = Path(__file__).resolve().parents[2]
RELAY = "relay"


class SystemSettings(BaseSettings):
    """What `./ftgo up` and the commands beside it read. The services' own settings are passed on to them."""

    model_config = Settings.model_config

    data_dir: Path = Field(ROOT / ".ftgo", description="Folder for data, logs, passwords and state.")
    host: str = Field("127.0.0.1", description="Address that the services' HTTP servers listen on.")
    port_offset: int = Field(0, ge=0, le=40000, description="Added to every port, to run beside another copy.")
    postgres_port: int = Field(15432, description="Port of the embedded PostgreSQL.")
    nats_port: int = Field(14222, description="Port of the embedded NATS.")


@dataclass(frozen=True)
class Secrets:
    """Passwords of the embedded servers, made once and kept in a file that only its owner reads."""

    admin: str
    nats: str
    roles: dict[str, str]

    @classmethod
    def of(cls, folder: Path) -> "Secrets":
        """Read the folder's secrets.json; make it, or what a newer version needs besides."""
        file = folder / "secrets.json"
        try:
            kept: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            kept = {}
        except ValueError:
            raise LaunchError(f"{file} is damaged: bring it back, or remove the data with ./ftgo reset") from None
        roles = kept.get("roles", {})
        found = cls(
            admin=kept.get("admin") or secrets.token_urlsafe(24),
            nats=kept.get("nats") or secrets.token_urlsafe(24),
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


class System:
    """The embedded system of one folder."""

    def __init__(self, settings: SystemSettings | None = None) -> None:
        """Read the settings from the environment unless they are given."""
        self.settings = settings or SystemSettings()
        self.folder = self.settings.data_dir.absolute()
        self.secrets = Secrets.of(self.folder)
        offset = self.settings.port_offset
        self.postgres = Postgres(self.folder / "postgres", self.settings.postgres_port + offset, self.secrets.admin)
        self.nats = Nats(self.folder / "nats", self.settings.nats_port + offset, self.secrets.nats)

    def database(self, service: ServiceInfo) -> Database:
        """Return the addresses of a service's database."""
        return addresses(self.postgres.admin_url, service, self.secrets.roles)

    def port(self, service: ServiceInfo) -> int:
        """Return the port of a service's HTTP API."""
        return service.port + self.settings.port_offset

    @property
    def relay_port(self) -> int:
        """The port of the relay's /readyz and /metrics."""
        default: int = RelaySettings.model_fields["port"].default
        return default + self.settings.port_offset

    def url(self, port: int) -> str:
        """Return the address of one of our HTTP servers, as this machine reaches it."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on
        host = everywhere.get(self.settings.host, self.settings.host)
        return f"http://{host}:{port}"

    def service_program(self, service: ServiceInfo) -> Program:
        """Return how one service runs against the embedded servers."""
        return self._program(service.name, (service.name,), **self._service_settings(service))

    def rebuild_program(self, service: ServiceInfo) -> Program:
        """Return what builds a service's tables anew; it has the service's settings."""
        return self._program("rebuild", (f"{service.name}.rebuild",), **self._service_settings(service))

    def relay_program(self, services: Sequence[ServiceInfo]) -> Program:
        """Return how one relay process for the services' databases runs against the embedded servers."""
        urls = {f"FTGO_RELAY_URL_{each.name.upper()}": self.database(each).relay_url for each in services}
        names = tuple(each.name for each in services)
        return self._program(RELAY, ("cdc", *names), FTGO_PORT=str(self.relay_port), **urls)

    def _service_settings(self, service: ServiceInfo) -> dict[str, str]:
        database = self.database(service)
        return {
            "FTGO_PORT": str(self.port(service)),
            "FTGO_DATABASE_URL": database.url,
            "FTGO_MIGRATIONS_URL": database.migrations_url,
        }

    def _program(self, name: str, module: tuple[str, ...], **settings: str) -> Program:
        environment = {
            **os.environ,
            "FTGO_HOST": self.settings.host,
            "FTGO_NATS_URL": self.nats.url,
            "FTGO_NATS_USER": self.nats.user,
            "FTGO_NATS_PASSWORD": self.secrets.nats,
            "PYTHONUNBUFFERED": "1",  # what a program says just before it dies is in its log
            **settings,
        }
        return Program(name, (sys.executable, "-m", *module), environment, ROOT)

    def groups(self, client: httpx.AsyncClient, without: Collection[str] = ()) -> list[Group]:
        """Return all programs in the order in which they start; `without` names services, or the relay, left out."""
        services = [self._service(each, client) for each in SERVICES if each.name not in without]
        relay = [] if RELAY in without else [self._relay(client)]
        postgres = Part(
            "postgres",
            self.postgres.program,
            self.postgres.port,
            blocking_probe(self.postgres.ready),
            f"postgresql://127.0.0.1:{self.postgres.port}",
        )
        nats = Part("nats", self.nats.program, self.nats.port, blocking_probe(self.nats.ready), self.nats.url)
        return [
            Group([postgres], essential=True, prepare=self.postgres.prepare, finish=self._provision),
            Group([nats], essential=True, prepare=self.nats.prepare),
            Group(relay),
            Group(services),
        ]

    def supervisor(self, client: httpx.AsyncClient, console: Console, without: Collection[str] = ()) -> Supervisor:
        """Return what runs the whole system; `client` asks the programs whether they're ready."""
        return Supervisor(self.groups(client, without), self.folder, console)

    def _service(self, service: ServiceInfo, client: httpx.AsyncClient) -> Part:
        return self._http_part(service.name, lambda: self.service_program(service), self.port(service), client)

    def _relay(self, client: httpx.AsyncClient) -> Part:
        services = [each for each in SERVICES if each.publishes]
        return self._http_part(RELAY, lambda: self.relay_program(services), self.relay_port, client)

    def _http_part(self, name: str, program: Callable[[], Program], port: int, client: httpx.AsyncClient) -> Part:
        url = self.url(port)
        return Part(name, program, port, http_probe(client, f"{url}/readyz"), url, self.settings.host)

    def _provision(self) -> None:
        provision(self.postgres.admin_url, self.secrets.roles)


def attached_system() -> System:
    """Return the system that runs, with the ports it has."""
    settings = SystemSettings()
    state = read_state(settings.data_dir)
    if state is None:
        raise LaunchError("nothing runs that it could use: start ./ftgo up first, or set FTGO_DATABASE_URL and so on")
    offset = state["parts"]["postgres"]["port"] - settings.postgres_port
    return System(settings.model_copy(update={"port_offset": offset}))


def remove_data(folder: Path) -> None:
    """Remove data, logs and passwords. LaunchError while the system runs."""
    if not folder.exists():
        return
    with locked(folder):
        _remove(folder)


def _remove(folder: Path) -> None:
    data = folder / "postgres"
    if data.is_symlink():  # where PostgreSQL's user can't reach the project, its data is elsewhere
        shutil.rmtree(data.resolve().parent, ignore_errors=True)
        data.unlink()
    for name in ("postgres", "nats", "logs"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / "secrets.json").unlink(missing_ok=True)
