"""Brings a service's database to the schema that its code expects."""

from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config

from shared.adapters.postgres.addresses import engine_url
from shared.adapters.postgres.releases import record_release
from shared.core.service_info import ServiceInfo
from shared.host.releases import may_migrate

_ROOT = Path(__file__).resolve().parents[2]


def migrate(service: ServiceInfo, url: str) -> None:
    """Run the migrations that have not run yet, as the role that owns the tables. Several at once wait for each other.

    Data of a newer release is left as it is. Blocks; raises sqlalchemy.exc.OperationalError when the database can't be
    reached, and WrongRelease when this code must not work on it, or not yet.
    """
    command.upgrade(alembic_config(service, url), "head")


def alembic_config(service: ServiceInfo, url: str) -> Config:
    """Return alembic's configuration; its environment is `adapters/postgres/alembic/env.py`."""
    config = Config()
    config.set_main_option("script_location", str(_ROOT / "shared/adapters/postgres/alembic"))
    config.set_main_option("version_locations", str(_ROOT / service.name / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = engine_url(url, "psycopg2")
    config.attributes["may_migrate"] = partial(may_migrate, service)
    config.attributes["migrated"] = partial(record_release, service.application.releases.current)
    return config
