"""Checks whether this code may work on a service's data: before a system starts, and before a service migrates."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.adapters.postgres.releases import (
    LIBRARY_MIGRATIONS,
    DataState,
    data_state,
    revisions_in,
    running_releases,
)
from shared.core.releases import Releases
from shared.core.service_info import ServiceInfo


def require_usable_data(service: ServiceInfo, cursor: Any) -> DataState:
    """Return the state of the database of a psycopg2 cursor.

    Raises WrongRelease when it is not for code as old as this.
    """
    releases = service.application.releases
    state = data_state(cursor)
    releases.require_not_older(service.name, state.newest)
    if not _is_newer(state, releases):
        _require_known_migrations(service, state)
    return state


def may_migrate(service: ServiceInfo, cursor: Any) -> DataState | None:
    """Return the state of the database when there may be something to do, None for data of a newer release.

    Raises WrongRelease.
    """
    releases = service.application.releases
    state = require_usable_data(service, cursor)
    for number in running_releases(cursor, service.application, service.name, state):
        releases.require_beside(service.name, number)
    return None if _is_newer(state, releases) else state


def migrations_of(service: ServiceInfo) -> Path | None:
    """Return the folder with the migrations of a service's own tables, `migrations` in its package, if it has one."""
    package = find_spec(service.package or service.name)
    for folder in () if package is None else package.submodule_search_locations or ():
        if (migrations := Path(folder) / "migrations").is_dir():
            return migrations
    return None


def _require_known_migrations(service: ServiceInfo, state: DataState) -> None:
    library, folder = revisions_in(LIBRARY_MIGRATIONS), migrations_of(service)
    own = [] if folder is None else revisions_in(folder)
    if state.library_migration is None:
        own = own + library  # a database of before 0.2.0 has one chain of both
    for migration, known in ((state.service_migration, own), (state.library_migration, library)):
        if migration is not None:
            service.application.releases.require_known(service.name, migration, migration in known)


def _is_newer(state: DataState, releases: Releases) -> bool:
    return state.newest is not None and state.newest.number > releases.current.number
