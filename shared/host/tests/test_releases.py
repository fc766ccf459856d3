"""Which release may work on which data, and beside which other one."""

import importlib
import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg2
import pytest
from dependency_injector.providers import Object
from sqlalchemy import text

from kernel.releases import RELEASES
from kernel.topology import BY_NAME, FTGO
from shared.adapters.postgres.releases import LIBRARY_VERSION, SERVICE_VERSION
from shared.core.releases import WrongRelease
from shared.host.container import ServiceContainer
from shared.host.migrations import migrate
from shared.host.provision import Database, provision, roles_of
from shared.host.settings import ServiceSettings
from shared.relay.database import open_database
from tests.support.infra import PASSWORD, Infra, drop_database
from tests.support.old_data import (
    BEFORE_THE_FIRST_RELEASE,
    FIRST_RELEASE,
    migrated_to,
    run_sql,
    touched_by_the_next_release,
)
from tests.support.processes import ROOT
from tools.system.process import LaunchError
from tools.system.system import System, SystemSettings

CURRENT = RELEASES.current
NEXT = CURRENT.number + 1
SESSIONS = (
    "select application_name from pg_stat_activity where datname = %s and pid <> pg_backend_pid()"
    " and application_name <> '' order by 1"
)


@pytest.fixture
def database(infra: Infra) -> Iterator[Database]:
    """An order database, as yet empty."""
    with infra.database("order") as database:
        yield database


def upgraded_to_the_next_release(database: Database, beside: int) -> None:
    """As if a newer release, which may run beside `beside` and later ones, had migrated it."""
    migrate(database.service, database.migrations_url)
    run_sql(database.migrations_url, "update alembic_version set version_num = '9999'")
    touched_by_the_next_release(database.migrations_url, beside)


def provision_again(infra: Infra, database: Database) -> None:
    provision(
        infra.admin_url,
        dict.fromkeys(roles_of(database.service), PASSWORD),
        [database.service],
        database=database.name,
    )


def state(database: Database) -> list[tuple[object, ...]]:
    return run_sql(database.migrations_url, "select version_num from alembic_version")


def test_releases_are_numbered_and_all_but_the_last_are_in_the_history() -> None:
    assert [release.number for release in RELEASES.known] == list(range(1, len(RELEASES.known) + 1))
    assert all(release.beside <= release.number for release in RELEASES.known)
    assert [len(release.commit) for release in RELEASES.known] == [40] * (len(RELEASES.known) - 1) + [0]


def test_the_last_release_is_this_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == CURRENT.version


def test_the_page_on_upgrading_names_the_releases() -> None:
    page = (ROOT / "docs/upgrading.md").read_text()
    versions = {release.number: release.version for release in RELEASES.known}
    for release in RELEASES.known:
        beside = "nothing older" if release.beside == release.number else versions[release.beside]
        assert f"| {release.number} | {release.version} | {beside} |" in page


def test_a_database_says_which_releases_have_worked_on_it(database: Database) -> None:
    migrate(database.service, database.migrations_url)
    migrate(database.service, database.migrations_url)
    rows = run_sql(database.url, "select number, version, beside from releases")
    assert rows == [(CURRENT.number, CURRENT.version, CURRENT.beside)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_sql(database.url, "delete from releases")


async def test_data_of_a_newer_release_that_allows_it_is_worked_on_as_it_is(infra: Infra, database: Database) -> None:
    upgraded_to_the_next_release(database, beside=CURRENT.number)
    provision_again(infra, database)
    migrate(database.service, database.migrations_url)
    assert state(database) == [("9999",)]
    async with open_database(database.relay_url, FTGO) as relay:
        await relay.require_release(RELEASES, "order")


async def test_code_that_is_older_than_its_data_is_refused_everywhere(infra: Infra, database: Database) -> None:
    upgraded_to_the_next_release(database, beside=NEXT)
    told = r"^the data of order is from a newer version \(next\) .* docs/upgrading\.md$"
    with pytest.raises(WrongRelease, match=told):
        migrate(database.service, database.migrations_url)
    with pytest.raises(WrongRelease, match=told):
        provision_again(infra, database)
    with pytest.raises(WrongRelease, match=told):
        async with open_database(database.relay_url, FTGO) as relay:
            await relay.require_release(RELEASES, "order")


@pytest.mark.parametrize("table", [LIBRARY_VERSION, SERVICE_VERSION])
def test_a_migration_that_is_not_known_is_refused_in_words(infra: Infra, database: Database, table: str) -> None:
    migrate(database.service, database.migrations_url)
    run_sql(database.migrations_url, f"update {table} set version_num = '0099'")
    told = r"^the data of order is from a newer version of the code: .* 0099"
    with pytest.raises(WrongRelease, match=told):
        migrate(database.service, database.migrations_url)
    with pytest.raises(WrongRelease, match=told):
        provision_again(infra, database)
    assert run_sql(database.migrations_url, f"select version_num from {table}") == [("0099",)]


def test_up_and_what_attaches_to_it_end_with_one_line(infra: Infra, tmp_path: Path) -> None:
    """Before any program is started: each of them would only say the same."""
    (tmp_path / "secrets.json").write_text(json.dumps({"admin": PASSWORD}))
    port = urlsplit(infra.admin_url).port
    assert port is not None
    system = System(SystemSettings(data_dir=tmp_path, postgres_port=port, port_offset=0))
    order = BY_NAME["order"]
    made = provision(system.postgres.admin_url, dict.fromkeys(roles_of(order), PASSWORD), [order])["order"]
    try:
        migrate(order, made.migrations_url)
        run_sql(made.migrations_url, "update alembic_version set version_num = '0099'")
        servers = system.groups(httpx.AsyncClient())[0]
        assert servers.finish is not None
        for start in (servers.finish, system.require_usable_data):
            with pytest.raises(LaunchError, match=r"^the data of order is from a newer version"):
                start()
        run_sql(made.url, "select 1")  # with the password it had
    finally:
        drop_database(infra.admin_url, made.name)


def test_what_is_refused_changes_nothing(infra: Infra, database: Database) -> None:
    upgraded_to_the_next_release(database, beside=NEXT)
    with pytest.raises(WrongRelease):
        provision(
            infra.admin_url,
            dict.fromkeys(roles_of(database.service), "another password"),
            [database.service],
            database=database.name,
        )
    assert run_sql(database.url, "select 1") == [(1,)]  # with the password it had


async def test_programs_say_their_release_in_the_names_of_their_sessions(database: Database) -> None:
    migrate(database.service, database.migrations_url)
    container: ServiceContainer = importlib.import_module("order.main").container()
    settings = {"application": FTGO, "port": 1, "database_url": database.url, "migrations_url": database.migrations_url}
    container.settings.override(Object(ServiceSettings.model_validate(settings)))
    pool = container.database()
    async with pool.engine.connect() as connection, open_database(database.relay_url, FTGO):
        await connection.execute(text("select 1"))
        sessions = run_sql(database.url, SESSIONS, database.name)
    await pool.close()
    assert sessions == [(f"ftgo relay/{CURRENT.number}",), (f"order/{CURRENT.number}",)]


def _before_the_first(database: Database) -> None:
    migrated_to(database, BEFORE_THE_FIRST_RELEASE)


def _of_the_first(database: Database) -> None:
    migrated_to(database, FIRST_RELEASE)


def _of_this_one(database: Database) -> None:
    migrate(database.service, database.migrations_url)


@pytest.mark.parametrize("running", ["order", "ftgo relay"])
def test_it_waits_for_what_must_not_run_beside_it(database: Database, running: str) -> None:
    _before_the_first(database)
    with closing(psycopg2.connect(database.url, application_name=running)):
        with pytest.raises(WrongRelease, match=r"older than 0\.1\.0 still runs on the data of order.* stop it first"):
            migrate(database.service, database.migrations_url)
        assert state(database) == [(BEFORE_THE_FIRST_RELEASE,)]
    migrate(database.service, database.migrations_url)


@pytest.mark.parametrize(
    ("prepare", "running"),
    [
        (_of_the_first, "order"),
        (_of_the_first, "ftgo relay"),
        (_of_this_one, "order"),
        (_of_this_one, FTGO.session_name("order")),
        (_of_this_one, FTGO.session_name(FTGO.relay_program)),
        (_before_the_first, "verify"),
        (_before_the_first, "orders"),
    ],
)
def test_it_starts_beside_what_may_run_beside_it(
    database: Database, prepare: Callable[[Database], None], running: str
) -> None:
    prepare(database)
    with closing(psycopg2.connect(database.url, application_name=running)):
        migrate(database.service, database.migrations_url)
