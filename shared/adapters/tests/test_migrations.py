"""The schema of the services' databases, as the migrations make it, on real PostgreSQL."""

import subprocess
import sys
from dataclasses import replace

import psycopg2
import pytest

from kernel.topology import BY_NAME, FTGO
from shared.adapters.postgres.migrate import Grants, migrate_library
from shared.core.service_info import ServiceInfo
from shared.host.migrations import migrate
from shared.host.provision import Database
from tests.support.infra import Infra
from tests.support.old_data import FIRST_RELEASE, ONE_CHAIN, migrated_to, run_sql

SAGA = """
insert into sagas values
    ('s', 1, 'type', 'key', '{}', 0, 'forward', null, '', 0, 0, now(), false, '', 'c', now(), now())
"""
INDEXES = "select indexname from pg_indexes where tablename in ('inbox', 'sagas') order by 1"

IN_FLIGHT = """
insert into events values ('Parcel', 'p', 1, 'parcels.ParcelSent', '{"a": 1}', '{}', now());
insert into outbox (subject, key, headers, data) values ('event.parcels.ParcelSent', 'p', '{}', '{"a": 1}');
insert into inbox (message_id, row_id) values ('handled', 'other-1');
insert into subscriptions (partition, position, message_id, message_at) values (0, 7, 'other-7', now());
insert into set_aside (partition, key, source, message_id, row_id, headers, data, set_aside_at, retry_at)
    values (0, 'p', 'other', 'waits', 'other-2', '{}', '{}', now(), now());
insert into idempotency_keys values ('k', 1, 'hash', '{}', now());
"""
LEFT = """
select (select data ->> 'a' from events), (select data from outbox), (select message_id from inbox),
    (select position || ' ' || heads::text from subscriptions), (select message_id from set_aside),
    (select phase from sagas), (select id from idempotency_keys)
"""
VERSIONS = "select (select version_num from library_version), (select version_num from alembic_version)"
SCHEMA = (
    """
    select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns
    where table_schema = 'public' order by 1, 2
    """,
    """
    select table_name, grantee, privilege_type from information_schema.role_table_grants
    where table_schema = 'public' and table_name not like '%_version' order by 1, 2, 3
    """,
    "select indexdef from pg_indexes where schemaname = 'public' order by 1",
    "select proname, prosrc, proacl::text from pg_proc where pronamespace = 'public'::regnamespace order by 1",
    "select pubname, tablename from pg_publication_tables",
)


def test_every_service_starts_from_an_empty_database(infra: Infra) -> None:
    for service in BY_NAME.values():
        with infra.database(service) as database:
            migrate(service, database.migrations_url)
            for table in ("inbox", "outbox", "events", "subscriptions"):
                assert run_sql(database.url, f"select count(*) from {table}") == [(0,)]


def test_migrations_can_be_run_again_and_by_several_at_once(infra: Infra) -> None:
    program = "import sys; from kernel.topology import BY_NAME; from shared.host.migrations import migrate; "
    program += "migrate(BY_NAME['accounting'], sys.argv[1])"
    with infra.database("accounting") as database:
        replicas = [subprocess.Popen([sys.executable, "-c", program, database.migrations_url]) for _ in range(2)]
        assert [replica.wait(60) for replica in replicas] == [0, 0]
        migrate(database.service, database.migrations_url)
        run_sql(database.url, "insert into inbox (message_id, row_id) values ('a', 'b')")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(database.url, "alter table inbox add column mine int")


def test_what_a_saga_changes_on_its_way_is_in_no_index(infra: Infra) -> None:
    """Each record of the log is read by all relays of the server: a change is one of them, as long as it is HOT."""
    with infra.database("order") as database:
        migrate(database.service, database.migrations_url)
        run_sql(database.url, SAGA)
        hot = run_sql(
            database.url,
            "update sagas set version = 2, data = '{\"a\": 1}', step = 1, awaiting = 'm', command = 'c', attempts = 1,"
            " resends = 1, due_at = now() + interval '1 s', error = 'e', updated_at = now() + interval '1 s';"
            "select pg_stat_get_xact_tuples_hot_updated('sagas'::regclass)",
        )
        assert hot == [(1,)]


def test_a_database_from_before_there_was_an_index_on_finished_sagas_is_migrated(infra: Infra) -> None:
    with infra.database("order") as new, infra.database("order") as old:
        migrate(new.service, new.migrations_url)
        migrated_to(old, "0003")
        run_sql(old.migrations_url, "drop index sagas_finished")
        migrate(old.service, old.migrations_url)
        assert run_sql(old.url, INDEXES) == run_sql(new.url, INDEXES)


def schema_of(database: Database) -> list[list[tuple[object, ...]]]:
    return [run_sql(database.migrations_url, query) for query in SCHEMA]


@pytest.mark.parametrize("migration", [FIRST_RELEASE, ONE_CHAIN])
@pytest.mark.parametrize("service", BY_NAME)
def test_a_database_with_one_chain_of_migrations_becomes_what_a_new_one_is(
    service: str, migration: str, infra: Infra
) -> None:
    with infra.database(service) as new, infra.database(service) as old:
        migrate(new.service, new.migrations_url)
        migrated_to(old, migration)
        migrate(old.service, old.migrations_url)
        assert run_sql(old.migrations_url, VERSIONS) == run_sql(new.migrations_url, VERSIONS)
        assert schema_of(old) == schema_of(new)
        migrate(old.service, old.migrations_url)
        assert schema_of(old) == schema_of(new)


@pytest.mark.parametrize("migration", [FIRST_RELEASE, ONE_CHAIN])
def test_what_is_in_flight_in_it_goes_on(migration: str, infra: Infra) -> None:
    with infra.database("order") as database:
        migrated_to(database, migration)
        run_sql(database.url, IN_FLIGHT + SAGA)
        migrate(database.service, database.migrations_url)
        left = ("1", '{"a": 1}', "handled", "7 {}", "waits", "forward", "k")
        assert run_sql(database.url, LEFT) == [left]


def test_one_role_can_do_everything(infra: Infra) -> None:
    """No role is named for a service and a relay of their own: the owner keeps its rights on all tables."""
    alone = ServiceInfo("order", 1, "of_nobody", FTGO)
    with infra.database("order") as database:
        migrate(alone, database.migrations_url)
        run_sql(database.migrations_url, IN_FLIGHT)
        run_sql(database.migrations_url, "update events set data = '{}'; delete from outbox")
        run_sql(database.migrations_url, "select erase_personal('Parcel', 'p')")
        assert "InsufficientPrivilege" in refused(database.url, "select * from outbox")


def test_the_role_of_a_service_can_own_its_tables(infra: Infra) -> None:
    with infra.database("order") as database:
        grants = Grants(service_role=database.service.owner_role, relay_role=database.service.owner_role)
        migrate_library(database.migrations_url, grants)
        run_sql(database.migrations_url, IN_FLIGHT)
        run_sql(database.migrations_url, "update events set data = '{}'; delete from outbox")


def test_one_role_can_be_a_service_and_its_relay(infra: Infra) -> None:
    with infra.database("order") as database:
        role = database.service.service_role
        migrate_library(database.migrations_url, Grants(service_role=role, relay_role=role))
        run_sql(database.url, IN_FLIGHT)
        run_sql(database.url, "delete from outbox; delete from relay_checkpoints; select from published_rows")


def test_migrations_of_others_in_the_same_database_are_let_alone(infra: Infra) -> None:
    with infra.database("order") as database:
        run_sql(database.migrations_url, "create table alembic_version (version_num varchar(32) primary key)")
        run_sql(database.migrations_url, "insert into alembic_version values ('ae1027a6acf')")
        migrate_library(database.migrations_url)
        assert run_sql(database.migrations_url, "select version_num from alembic_version") == [("ae1027a6acf",)]
        run_sql(database.migrations_url, IN_FLIGHT)


def test_a_service_without_tables_of_its_own_needs_no_migrations(infra: Infra) -> None:
    with infra.database("order") as database:
        service = replace(database.service, name="parcels")
        migrate(service, database.migrations_url)
        migrate(service, database.migrations_url)
        run_sql(database.url, IN_FLIGHT)


def refused(url: str, sql: str) -> str:
    with pytest.raises(psycopg2.Error) as error:
        run_sql(url, sql)
    return error.typename
