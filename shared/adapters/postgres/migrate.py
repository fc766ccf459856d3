"""Runs migrations: the library's own, for its tables, and those of a service, for its own tables.

Each chain of migrations has a table that says where a database is. All that is run together is one transaction, under a
lock: several processes that start at once wait for each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, pool, text

from shared.adapters.postgres.addresses import engine_url
from shared.adapters.postgres.releases import LIBRARY_MIGRATIONS, LIBRARY_VERSION, record_release
from shared.core.releases import Releases

_ENVIRONMENT = Path(__file__).resolve().parent / "alembic"
_LOCK = 4_206_913_377  # any number that nothing else locks


@dataclass(frozen=True, kw_only=True)
class Grants:
    """Who is given rights on the tables beside their owner, and whether a relay reads the outbox.

    A role that the server does not have is given nothing. So a database with one role needs no other.
    """

    service_role: str | None = None
    relay_role: str | None = None
    publishes: bool = True


@dataclass(frozen=True)
class Chain:
    """The migrations in a folder, and the table that says which of them a database has had."""

    folder: Path
    version_table: str

    def upgrade(self, connection: Connection, grants: Grants, revision: str = "head") -> None:
        """Run the migrations that the database has not had, up to `revision`."""
        command.upgrade(self._config(connection, grants), revision)

    def stamp(self, connection: Connection, revision: str) -> None:
        """Write down that the database has had the migrations up to `revision`, or none if that is `base`."""
        command.stamp(self._config(connection, Grants()), revision, purge=True)

    def _config(self, connection: Connection, grants: Grants) -> Config:
        config = Config()
        config.set_main_option("script_location", str(_ENVIRONMENT))
        config.set_main_option("version_locations", str(self.folder))
        config.set_main_option("path_separator", "os")
        config.attributes.update(
            connection=connection,
            version_table=self.version_table,
            service_role=grants.service_role,
            relay_role=grants.relay_role,
            publishes=grants.publishes,
        )
        return config


LIBRARY = Chain(LIBRARY_MIGRATIONS, LIBRARY_VERSION)


def migrate_library(url: str, grants: Grants | None = None, releases: Releases | None = None) -> None:
    """Make or upgrade the library's tables in a database, as the role that is to own them.

    `releases` are those of the application's code. Blocks. Raises sqlalchemy.exc.OperationalError when the database
    cannot be reached.
    """
    with migrating(url) as connection:
        LIBRARY.upgrade(connection, grants or Grants())
        record_release((releases or Releases()).current, connection.connection.cursor())


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """Open the transaction that migrations are run in. It waits for any other one on the same database."""
    engine = create_engine(
        engine_url(url, "psycopg2"),
        poolclass=pool.NullPool,
        connect_args={
            "connect_timeout": 5,
            "tcp_user_timeout": 30_000,
            "options": "-c idle_in_transaction_session_timeout=60s",  # a stopped process would hold the lock for ever
        },
    )
    with engine.begin() as connection:
        connection.execute(text(f"select pg_advisory_xact_lock({_LOCK})"))
        yield connection
