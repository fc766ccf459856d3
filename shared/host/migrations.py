"""Brings a service's database to the schema that its code expects: the library's tables, then the service's own."""

from sqlalchemy import Connection

from shared.adapters.postgres.migrate import LIBRARY, Chain, Grants, migrating
from shared.adapters.postgres.releases import LIBRARY_MIGRATIONS, SERVICE_VERSION, record_release, revisions_in
from shared.core.service_info import ServiceInfo
from shared.host.releases import may_migrate, migrations_of


def migrate(service: ServiceInfo, url: str) -> None:
    """Run the migrations that the database has not had, as the role that owns the tables.

    Data of a newer release is left as it is. Blocks; raises sqlalchemy.exc.OperationalError when the database cannot be
    reached, and WrongRelease when this code must not work on it, or not yet.
    """
    folder = migrations_of(service)
    own = None if folder is None else Chain(folder, SERVICE_VERSION)
    grants = grants_of(service)
    with migrating(url) as connection:
        cursor = connection.connection.cursor()
        state = may_migrate(service, cursor)
        if state is None:
            return
        if state.library_migration is None and state.service_migration in revisions_in(LIBRARY_MIGRATIONS):
            _take_over(connection, own, state.service_migration)
        LIBRARY.upgrade(connection, grants)
        if own is not None:
            own.upgrade(connection, grants)
        record_release(service.application.releases.current, cursor)


def grants_of(service: ServiceInfo) -> Grants:
    """Return who is given rights on a service's tables."""
    return Grants(service_role=service.service_role, relay_role=service.relay_role, publishes=service.publishes)


def _take_over(connection: Connection, own: Chain | None, migration: str) -> None:
    """Divide the one chain of migrations that a database had before the library had its own.

    The numbers have stayed. So the library is where the one chain was, and the service at the last migration of its own
    up to there.
    """
    LIBRARY.stamp(connection, migration)
    if own is not None:
        done = [number for number in revisions_in(own.folder) if number <= migration]
        own.stamp(connection, done[-1] if done else "base")
