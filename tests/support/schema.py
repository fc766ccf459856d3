"""The library's tables in a test's database, without those of the service."""

from pathlib import Path

from shared.adapters.postgres.migrate import LIBRARY, Chain, migrating
from shared.adapters.postgres.releases import SERVICE_VERSION
from shared.host.migrations import grants_of
from shared.host.provision import Database


def make_framework_tables(database: Database, migrations: Path | None = None) -> None:
    """Make them as the role that owns the database, and run the migrations of a folder after the library's."""
    grants = grants_of(database.service)
    with migrating(database.migrations_url) as connection:
        LIBRARY.upgrade(connection, grants)
        if migrations is not None:
            Chain(migrations, SERVICE_VERSION).upgrade(connection, grants)
