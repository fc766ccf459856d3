"""The schema of the services' databases, as the migrations make it, on real PostgreSQL."""

import subprocess
import sys

import psycopg2
import pytest

from kernel.topology import BY_NAME
from shared.host.migrations import migrate
from tests.support.infra import Infra
from tests.support.old_data import migrated_to, run_sql

SAGA = """
insert into sagas values
    ('s', 1, 'type', 'key', '{}', 0, 'forward', null, '', 0, 0, now(), false, '', 'c', now(), now())
"""
INDEXES = "select indexname from pg_indexes where tablename in ('inbox', 'sagas') order by 1"


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
