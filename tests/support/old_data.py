"""Databases as another release of the code has left them, and what is in them."""

from contextlib import closing
from typing import Any

import psycopg2
from alembic import command

from kernel.topology import FTGO
from shared.host.migrations import alembic_config
from shared.host.provision import Database

BEFORE_THE_FIRST_RELEASE = "0003"
FIRST_RELEASE = "0004"


def migrated_to(database: Database, migration: str) -> None:
    """Bring an empty database to a migration from before there was a table of releases."""
    config = alembic_config(database.service, database.migrations_url)
    config.attributes |= {"may_migrate": lambda _: True, "migrated": lambda _: None}
    command.upgrade(config, migration)


def touched_by_the_next_release(url: str, beside: int) -> None:
    """Let a newer release have worked on a database, which may run beside `beside` and later ones."""
    number = FTGO.releases.current.number + 1
    run_sql(url, "insert into releases (number, version, beside) values (%s, 'next', %s)", number, beside)


def run_sql(url: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows, if it gives any."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []
