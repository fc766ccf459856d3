"""Brings a service's database to the schema that its code expects."""

from alembic import command
from alembic.config import Config

from shared.adapters.postgres.addresses import engine_url
from shared.runtime.topology import ServiceInfo


def migrate(service: ServiceInfo, url: str) -> None:
    """Runs what has not been run yet, as the role that owns the tables. Several at once wait for each other.

    Blocks; raises sqlalchemy.exc.OperationalError when the database can't be reached.
    """
    config = configuration(service)
    config.attributes["url"] = engine_url(url, "psycopg2")
    command.upgrade(config, "head")


def configuration(service: ServiceInfo) -> Config:
    """Return where alembic finds a service's migrations."""
    config = Config()
    # As parts of packages: in a path, alembic gives a meaning to percent signs and to whatever separates two paths.
    config.set_main_option("script_location", "shared.adapters.postgres:alembic")
    config.set_main_option("version_locations", f"{service.name}:migrations")
    config.set_main_option("path_separator", "newline")
    return config
