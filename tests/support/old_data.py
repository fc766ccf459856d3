"""Databases as another release of the code has left them, and what is in them."""

from contextlib import closing
from typing import Any

import psycopg2
from sqlalchemy import text

from kernel.topology import FTGO
from shared.adapters.postgres.migrate import LIBRARY, Chain, migrating
from shared.adapters.postgres.releases import LIBRARY_VERSION, SERVICE_VERSION, revisions_in
from shared.host.migrations import grants_of
from shared.host.provision import Database
from shared.host.releases import migrations_of

BEFORE_THE_FIRST_RELEASE = "0003"
FIRST_RELEASE = "0004"
ONE_CHAIN = "0009"
"""Where the last state of the code with one chain of migrations has left a database: never released."""


def migrated_to(database: Database, migration: str) -> None:
    """Bring an empty database to a migration of the one chain that services had before the library had its own."""
    folder = migrations_of(database.service)
    assert folder is not None
    own = Chain(folder, SERVICE_VERSION)
    done = [number for number in revisions_in(folder) if number <= migration]
    grants = grants_of(database.service)
    with migrating(database.migrations_url) as connection:
        LIBRARY.upgrade(connection, grants, migration)
        own.upgrade(connection, grants, done[-1] if done else "base")
        connection.execute(text(f"drop table {LIBRARY_VERSION}"))
        connection.execute(text(f"delete from {SERVICE_VERSION}"))
        connection.execute(text(f"insert into {SERVICE_VERSION} values (:migration)"), {"migration": migration})
        # All tables were granted as they were made.
        connection.execute(text(f"grant select on {SERVICE_VERSION} to {database.service.service_role}"))


def touched_by_the_next_release(url: str, beside: int) -> None:
    """Let a newer release have worked on a database, which may run beside `beside` and later ones."""
    number = FTGO.releases.current.number + 1
    run_sql(url, "insert into releases (number, version, beside) values (%s, 'next', %s)", number, beside)


def run_sql(url: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows, if it gives any."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []
