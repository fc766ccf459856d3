"""Checks whether this code may work on a service's data: before a system starts, and before a service migrates."""

from pathlib import Path
from typing import Any

from shared.adapters.postgres.releases import DataState, data_state, running_releases
from shared.core.releases import Releases
from shared.core.service_info import ServiceInfo

_ROOT = Path(__file__).resolve().parents[2]


def require_usable_data(service: ServiceInfo, cursor: Any) -> DataState:
    """Return the state of a psycopg2 cursor's database. Raises WrongRelease when it is not for code as old as this."""
    releases = service.application.releases
    state = data_state(cursor)
    releases.require_not_older(service.name, state.newest)
    if state.migration is not None and not _is_newer(state, releases):
        migrations = _ROOT / service.name / "migrations"
        releases.require_known(service.name, state.migration, any(migrations.glob(f"{state.migration}_*.py")))
    return state


def may_migrate(service: ServiceInfo, cursor: Any) -> bool:
    """Return whether there may be something to do. Raises WrongRelease."""
    releases = service.application.releases
    state = require_usable_data(service, cursor)
    for number in running_releases(cursor, service.application, service.name, state):
        releases.require_beside(service.name, number)
    return not _is_newer(state, releases)


def _is_newer(state: DataState, releases: Releases) -> bool:
    return state.newest is not None and state.newest.number > releases.current.number
