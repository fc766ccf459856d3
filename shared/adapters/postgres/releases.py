"""Which releases have worked on a database, and which do at this moment."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.core.application import Application
from shared.core.releases import BEFORE_THE_FIRST, Release, Releases

if TYPE_CHECKING:  # the command line looks at databases without it
    import asyncpg

LIBRARY_MIGRATIONS = Path(__file__).resolve().parent / "migrations"
LIBRARY_VERSION = "library_version"
SERVICE_VERSION = "alembic_version"
"""The tables that say which of the library's migrations, and of a service's own, a database has had."""

_NEWEST = "select number, version, beside from releases order by number desc limit 1"
_FIRST_RELEASES_MIGRATION = "0004"
"""Where the first release leaves a database. It has no table of releases."""


@dataclass(frozen=True)
class DataState:
    """The newest release that has worked on a database, and the last migrations of the service and of the library.

    Each is None where the database does not say: the library has had migrations of its own since 0.2.0 only.
    """

    newest: Release | None
    service_migration: str | None
    library_migration: str | None

    def unnumbered(self, releases: Releases) -> int:
        """Return the number of a program on this database that doesn't say its number itself."""
        first = releases.first.number
        migrated = self.newest is not None or (self.service_migration or "") >= _FIRST_RELEASES_MIGRATION
        return first if migrated else BEFORE_THE_FIRST


def data_state(cursor: Any) -> DataState:
    """Return the state of the database of a psycopg2 cursor, whose role may read all tables."""
    newest = None
    if _exists(cursor, "releases"):
        cursor.execute(_NEWEST)
        newest = next((Release(*row) for row in cursor.fetchall()), None)
    return DataState(newest, _migration(cursor, SERVICE_VERSION), _migration(cursor, LIBRARY_VERSION))


def revisions_in(folder: Path) -> list[str]:
    """Return the numbers of the migrations in a folder, such as `0001`, the first one first."""
    return sorted(path.name.partition("_")[0] for path in folder.glob("[0-9]*_*.py"))


def running_releases(cursor: Any, application: Application, service: str, state: DataState) -> list[int]:
    """Return the numbers of the releases whose service or relay has a session on the database now."""
    cursor.execute(
        "select application_name from pg_stat_activity"
        " where datname = current_database() and application_name ~ %s and pid <> pg_backend_pid()",
        [f"^({re.escape(service)}|{application.relay_program})(/[0-9]+)?$"],
    )
    return [int(name.partition("/")[2] or state.unnumbered(application.releases)) for (name,) in cursor.fetchall()]


def record_release(current: Release, cursor: Any) -> None:
    """Write down that this release works on the database."""
    cursor.execute(
        "insert into releases (number, version, beside) values (%s, %s, %s)"
        " on conflict (number) do update set version = excluded.version, beside = excluded.beside",
        [current.number, current.version, current.beside],
    )


def _exists(cursor: Any, table: str) -> bool:
    cursor.execute("select to_regclass(%s) is not null", [table])
    return bool(cursor.fetchone()[0])


def _migration(cursor: Any, version_table: str) -> str | None:
    if not _exists(cursor, version_table):
        return None
    cursor.execute(f"select version_num from {version_table}")
    return next((version for (version,) in cursor.fetchall()), None)


async def require_not_older_than_data(connection: "asyncpg.Connection[Any]", releases: Releases, service: str) -> None:
    """Raise WrongRelease when this code must not touch what is in the connection's database."""
    if await connection.fetchval("select to_regclass('releases') is not null"):
        row = await connection.fetchrow(_NEWEST)
        releases.require_not_older(service, None if row is None else Release(*row))
