"""The framework's tables in a test's database, without a service's migrations."""

from collections.abc import Mapping, Sequence

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, make_url

from shared.adapters.postgres import schema
from shared.host.provision import Database


def make_framework_tables(
    database: Database, personal: Mapping[str, Mapping[str, object]] | None = None, erasing: Sequence[str] = ()
) -> None:
    """Make them as the role that owns the database. `personal` and `erasing`: see `schema.upgrade_9`."""
    engine = create_engine(make_url(database.migrations_url).set(drivername="postgresql+psycopg2"))
    try:
        with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
            schema.upgrade_1(database.service)
            schema.upgrade_2(database.service)
            schema.upgrade_3(database.service)
            schema.upgrade_4(database.service)
            schema.upgrade_5(database.service)
            schema.upgrade_6(database.service)
            schema.upgrade_7(database.service)
            schema.upgrade_9(database.service, personal, erasing)
    finally:
        engine.dispose()
