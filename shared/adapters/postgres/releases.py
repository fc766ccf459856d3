"""Which releases have worked on a database, and which do at this moment."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.core.application import Application
from shared.core.releases import BEFORE_THE_FIRST, Release, Releases

if TYPE_CHECKING:  # the command line looks at databases without it
    import asyncpg

_NEWEST = "select number, version, beside from releases order by number desc limit 1"
_FIRST_RELEASES_MIGRATION = "0004"
"""Where the first release leaves a database. It has no table of releases."""


@dataclass(frozen=True)
class DataState:
    """The newest release that has worked on a database, None if that one left no number; and the last migration."""

    newest: Release | None
    migration: str | None

    def unnumbered(self, releases: Releases) -> int:
        """Return the number of a program on this database that doesn't say its number itself."""
        first = releases.first.number
        migrated = self.newest is not None or (self.migration or "") >= _FIRST_RELEASES_MIGRATION
        return first if migrated else BEFORE_THE_FIRST


def data_state(cursor: Any) -> DataState:
    """The state of the database of a psycopg2 cursor, whose role may read all tables."""
    cursor.execute("select to_regclass('alembic_version') is not null, to_regclass('releases') is not null")
    migrated, numbered = cursor.fetchone()
    migration = newest = None
    if migrated:
        cursor.execute("select version_num from alembic_version")
        migration = next((version for (version,) in cursor.fetchall()), None)
    if numbered:
        cursor.execute(_NEWEST)
        newest = next((Release(*row) for row in cursor.fetchall()), None)
    return DataState(newest, migration)


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


async def require_not_older_than_data(connection: "asyncpg.Connection[Any]", releases: Releases, service: str) -> None:
    """Raise WrongRelease when this code must not touch what is in the connection's database."""
    if await connection.fetchval("select to_regclass('releases') is not null"):
        row = await connection.fetchrow(_NEWEST)
        releases.require_not_older(service, None if row is None else Release(*row))
