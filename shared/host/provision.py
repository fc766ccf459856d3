"""Databases and roles: one database per service, and roles that reach no other. Repeating it changes passwords only."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 names its class in lower case
from pydantic import Field, PostgresDsn, SecretStr

from shared.core.application import Application
from shared.core.releases import WrongRelease
from shared.core.service_info import ServiceInfo
from shared.host.releases import require_usable_data
from shared.host.settings import ApplicationSettings

log = logging.getLogger("provision")

# Functions that every role may call by default, and that store data outside of tables.
_LARGE_OBJECTS = "lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea)"

# An advisory lock: two that provision one server at the same time would get in the way of each other.
_LOCK = 0x4654474F


ROLE_CONNECTIONS = 60


class ProvisionSettings(ApplicationSettings):
    """What is needed to make the databases.

    The simplest is one `role_password` for all roles; `role_passwords` gives single roles their own.
    """

    admin_url: PostgresDsn = Field(description="The PostgreSQL server, as a superuser.")
    role_passwords: dict[str, SecretStr] = Field(
        default_factory=dict, description='Password of each role, as JSON: {"ordering_service": "..."}.'
    )
    role_password: SecretStr | None = Field(None, description="Password of the roles that role_passwords doesn't name.")
    role_connections: int = Field(
        ROLE_CONNECTIONS,
        ge=1,
        description="Connections that a role may have at once, lest it take them from others.",
    )
    wait_seconds: float = Field(60.0, gt=0, description="How long to wait for PostgreSQL.")

    def passwords(self, services: Iterable[ServiceInfo]) -> dict[str, str]:
        """Return the password of each role. ValueError names the roles that have none."""
        found = {
            role: self.role_passwords.get(role, self.role_password) for each in services for role in roles_of(each)
        }
        missing = [role for role, password in found.items() if password is None]
        if missing:
            variable = f"{self.application.environment_prefix}ROLE_PASSWORD"
            raise ValueError(f"no password for {', '.join(missing)}: set {variable} or {variable}S")
        return {role: password.get_secret_value() for role, password in found.items() if password is not None}


@dataclass(frozen=True)
class Database:
    """A service's database and the addresses that its programs use."""

    service: ServiceInfo
    name: str
    url: str
    migrations_url: str
    relay_url: str


def roles_of(service: ServiceInfo) -> tuple[str, str, str]:
    """Return the roles that log in to the service's database."""
    return service.owner_role, service.service_role, service.relay_role


def addresses(
    admin_url: str, service: ServiceInfo, passwords: Mapping[str, str], database: str | None = None
) -> Database:
    """Return the addresses of the service's database on the server of `admin_url`."""
    name = database or service.database
    server = urlsplit(admin_url)

    def as_role(role: str) -> str:
        login = f"{role}:{quote(passwords[role], safe='')}@{server.netloc.rpartition('@')[2]}"
        return server._replace(netloc=login, path=f"/{name}").geturl()

    return Database(
        service, name, as_role(service.service_role), as_role(service.owner_role), as_role(service.relay_role)
    )


def provision(
    admin_url: str,
    passwords: Mapping[str, str],
    services: Iterable[ServiceInfo],
    *,
    database: str | None = None,
    max_connections: int = -1,
) -> dict[str, Database]:
    """Make what is missing of the services' databases and roles; return the databases by the services' names.

    Raises WrongRelease, and changes nothing, when there is data that is not for code as old as this.

    `max_connections` is what each role may have at once; -1: as many as the server has. `database` is another name for
    the database of the one service given: tests make many for the same roles.
    """
    made = {each.name: addresses(admin_url, each, passwords, database) for each in services}
    with closing(_connect(admin_url)) as admin, admin.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(%s)", [_LOCK])
        require_usable(admin_url, made.values())
        # By default everybody may connect to these; our roles are to reach their own database only.
        cursor.execute("revoke connect, temporary on database postgres, template1 from public")
        for each in made.values():
            _make_roles(admin, each.service, passwords, max_connections)
            _make_database(admin, each)
            with closing(_connect(_on_database(admin_url, each.name))) as inside, inside.cursor() as rights:
                rights.execute("revoke all on schema public from public")
                rights.execute(f"revoke execute on function {_LARGE_OBJECTS} from public")
                for role in roles_of(each.service)[1:]:
                    rights.execute(sql.SQL("grant usage on schema public to {}").format(sql.Identifier(role)))
    return made


def require_usable(admin_url: str, databases: Iterable[Database]) -> None:
    """Raise WrongRelease when the data of one of them is not for code as old as this.

    A database that does not exist, or can't be reached, is passed over: its service checks again when it starts.
    """
    for database in databases:
        with (
            suppress(psycopg2.OperationalError),
            closing(_connect(_on_database(admin_url, database.name))) as inside,
            inside.cursor() as cursor,
        ):
            require_usable_data(database.service, cursor)


def _make_roles(admin: Connection, service: ServiceInfo, passwords: Mapping[str, str], max_connections: int) -> None:
    with admin.cursor() as cursor:
        for role in roles_of(service):
            cursor.execute("select 1 from pg_roles where rolname = %s", [role])
            verb = "alter" if cursor.fetchone() else "create"
            # Replication lets a role read all changes of every database that it can connect to: here only its own.
            right = "replication" if role == service.relay_role else "noreplication"
            cursor.execute(
                sql.SQL(f"{verb} role {{}} login {right} connection limit {max_connections} password {{}}").format(
                    sql.Identifier(role), sql.Literal(passwords[role])
                )
            )


def _make_database(admin: Connection, database: Database) -> None:
    owner, service, relay = (sql.Identifier(role) for role in roles_of(database.service))
    name = sql.Identifier(database.name)
    with admin.cursor() as cursor:
        cursor.execute("select 1 from pg_database where datname = %s", [database.name])
        if not cursor.fetchone():
            cursor.execute(sql.SQL("create database {} owner {}").format(name, owner))
        cursor.execute(sql.SQL("revoke connect, temporary on database {} from public").format(name))
        cursor.execute(sql.SQL("grant connect on database {} to {}, {}").format(name, service, relay))


def _connect(url: str) -> Connection:
    connection = psycopg2.connect(url, connect_timeout=5)
    connection.autocommit = True
    return connection


def _on_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def wait_for_postgres(url: str, seconds: float) -> None:
    """Return when the server takes connections, after one log line if it doesn't at once. TimeoutError otherwise."""
    give_up = time.monotonic() + seconds
    told = False
    while True:
        try:
            _connect(url).close()
        except psycopg2.OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            if time.monotonic() > give_up:
                raise TimeoutError(f"no PostgreSQL after {seconds:g} s: {reason}") from error
            if not told:
                log.info("waiting for PostgreSQL: %s", reason)
                told = True
            time.sleep(0.2)
        else:
            return


def main(application: Application, services: Collection[ServiceInfo]) -> int:
    """Provision the databases of an application's services from the environment; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    try:
        settings = ProvisionSettings(application=application)
        wait_for_postgres(str(settings.admin_url), settings.wait_seconds)
        made = provision(
            str(settings.admin_url),
            settings.passwords(services),
            services,
            max_connections=settings.role_connections,
        )
    except (ValueError, TimeoutError, WrongRelease, psycopg2.Error) as error:
        log.error("%s", " ".join(str(error).split()))
        return 1
    log.info("databases ready: %s", ", ".join(database.name for database in made.values()))
    return 0
