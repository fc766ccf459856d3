"""What the roles of a service may not do in PostgreSQL, tried on a real one. That they may do their work, the running
system shows; what a test here forbids has its counterpart that is allowed where nothing else would notice."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 names its class in lower case
from psycopg2.extras import LogicalReplicationConnection, PhysicalReplicationConnection

from kernel.topology import BY_NAME
from shared.core.service_info import ServiceInfo
from shared.host.migrations import migrate
from shared.host.provision import Database
from tests.support.infra import Infra

ORDER = BY_NAME["order"]
ROLES = ("service", "relay")


@pytest.fixture(scope="module")
def order(infra: Infra) -> Iterator[Database]:
    """The order service's database."""
    with infra.database(ORDER) as database:
        migrate(ORDER, database.migrations_url)
        yield database


@pytest.fixture(scope="module")
def kitchen(infra: Infra) -> Iterator[Database]:
    """Somebody else's database on the same server."""
    with infra.database("kitchen") as database:
        yield database


def url_of(role: str, database: Database) -> str:
    return {"service": database.url, "owner": database.migrations_url, "relay": database.relay_url}[role]


def run(url: str, statement: str) -> None:
    """In a transaction that is rolled back."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def refused(url: str, statement: str) -> str:
    """Why the statement is refused. Without a transaction, in which some statements can't be."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        with pytest.raises(errors.InsufficientPrivilege) as refusal:
            cursor.execute(statement)
    return str(refusal.value)


@pytest.mark.parametrize("role", ["service", "relay", "owner"])
@pytest.mark.parametrize("elsewhere", ["kitchen", "postgres", "template1"])
def test_no_role_reaches_another_database(role: str, elsewhere: str, order: Database, kitchen: Database) -> None:
    name = kitchen.name if elsewhere == "kitchen" else elsewhere
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(url_of(role, order).replace(f"/{order.name}", f"/{name}"))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "create table mine (id int)",
        "create temporary table mine (id int)",
        "create schema mine",
        "create function mine() returns int language sql as 'select 1'",
        "alter table outbox add column mine int",
        "drop table outbox",
        "truncate events",
        "update repairs set operator = 'nobody'",
        "delete from repairs",
        "create trigger mine before insert on outbox execute function suppress_redundant_updates_trigger()",
        "alter table outbox disable trigger all",
        "create publication mine for table outbox",
        "drop publication ftgo_outbox",
        "select lo_create(0)",
        "select lo_from_bytea(0, 'x')",
    ],
)
def test_definitions_are_the_owners(role: str, statement: str, order: Database) -> None:
    refused(url_of(role, order), statement)


@pytest.mark.parametrize("role", ["service", "relay", "owner"])
@pytest.mark.parametrize(
    "statement",
    [
        "select pg_read_file('postgresql.conf')",
        "select pg_ls_dir('.')",
        "copy outbox to '/tmp/copied'",
        "copy outbox from program 'echo'",
        "copy outbox to program 'cat'",
        "alter system set log_statement = 'all'",
        "set session_replication_role = replica",
        "select pg_reload_conf()",
        "select rolpassword from pg_authid",
        "create role mine",
        "alter role ordering_relay superuser",
        "alter role kitchen_service password 'mine'",
        "set role ftgo_admin",
        "set role kitchen_service",
        "create database mine",
        "grant pg_read_all_data to ordering_service",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename is null",
    ],
)
def test_the_server_is_nobodys(role: str, statement: str, order: Database, kitchen: Database) -> None:
    refused(url_of(role, order), statement)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("other", ["owner", "service", "relay"])
def test_no_role_becomes_another(role: str, other: str, order: Database) -> None:
    if other != role:
        assert "permission denied to set role" in refused(url_of(role, order), f"set role ordering_{other}")


@pytest.mark.parametrize(
    "statement",
    [
        "select * from sagas",
        "select * from inbox",
        "select * from restaurants",
        "select * from idempotency_keys",
        "insert into outbox (subject, key, headers, data) values ('', '', '', '')",
        "update outbox set data = ''",
        "insert into events select * from events",
        "update events set data = '{}'",
        "delete from events",
        "update relay_checkpoints set stream_seq = 0",
        "update clock_readings set earliest = now()",
        "insert into clock_readings values (0, '0', now(), now())",
    ],
)
def test_a_relay_reads_outbox_and_events_and_writes_its_checkpoints(statement: str, order: Database) -> None:
    refused(order.relay_url, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "select * from outbox",
        "delete from outbox",
        "select * from events",
        "select surely_past('1 day')",
        "insert into relay_checkpoints (row_id, lsn, stream_seq) values (1, '0/0', 1)",
        "delete from relay_checkpoints",
    ],
)
def test_and_that_it_may(statement: str, order: Database) -> None:
    run(order.relay_url, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "update events set data = '{}'",
        "delete from events",
        "update outbox set data = ''",
        "delete from outbox",
        "update repairs set reason = ''",
        "delete from repairs",
        "delete from relay_checkpoints",
        "insert into relay_checkpoints (row_id, lsn, stream_seq) values (1, '0/0', 1)",
        "update alembic_version set version_num = ''",
        "update library_version set version_num = ''",
    ],
)
def test_a_service_does_not_change_what_it_has_said(statement: str, order: Database) -> None:
    refused(order.url, statement)


@pytest.mark.parametrize("service", BY_NAME.values(), ids=lambda service: service.name)
def test_nor_does_any_other_service(service: ServiceInfo, infra: Infra) -> None:
    with infra.database(service) as database:
        migrate(service, database.migrations_url)
        refused(database.url, "delete from events")
        run(database.url, "select * from events")


def replication(url: str, factory: type[Connection]) -> Connection:
    connection: Connection = psycopg2.connect(url, connection_factory=factory)
    return connection


@pytest.mark.parametrize("role", ["service", "owner", "relay"])
def test_nobody_copies_the_whole_server(role: str, order: Database) -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"pg_hba\.conf (rejects|entry for) replication connection"):
        replication(url_of(role, order), PhysicalReplicationConnection)


@pytest.mark.parametrize("role", ["service", "owner"])
def test_only_a_relay_follows_the_log(role: str, order: Database) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied to start WAL sender"):
        replication(url_of(role, order), LogicalReplicationConnection)
    assert "permission denied to use replication slots" in refused(
        url_of(role, order), "select pg_create_logical_replication_slot('mine', 'pgoutput')"
    )


def test_a_relay_follows_the_log_of_its_own_database_only(infra: Infra, order: Database, kitchen: Database) -> None:
    theirs = f"slot_of_{kitchen.name}"
    with closing(replication(kitchen.relay_url, LogicalReplicationConnection)) as relay:
        relay.cursor().create_replication_slot(theirs, output_plugin="pgoutput")  # type: ignore[attr-defined]
    try:
        with (
            closing(replication(order.relay_url, LogicalReplicationConnection)) as relay,
            pytest.raises(psycopg2.Error, match="was not created in this database"),
        ):
            relay.cursor().start_replication(  # type: ignore[attr-defined]
                slot_name=theirs, options={"proto_version": "1", "publication_names": "ftgo_outbox"}, decode=False
            )
        with pytest.raises(psycopg2.Error, match="was not created in this database"):
            run(order.relay_url, f"select pg_logical_slot_get_binary_changes('{theirs}', null, null)")
    finally:
        run(infra.admin_url.replace("/postgres", f"/{kitchen.name}"), f"select pg_drop_replication_slot('{theirs}')")


@pytest.mark.parametrize("password", ["", "test2"])
def test_nobody_comes_in_without_the_password(password: str, order: Database) -> None:
    url = order.url.replace(":test@", f":{password}@")
    assert url != order.url
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(url)


def test_passwords_are_kept_as_scram(infra: Infra, order: Database) -> None:
    with closing(psycopg2.connect(infra.admin_url)) as admin, admin.cursor() as cursor:
        cursor.execute("select rolname from pg_authid where rolcanlogin and rolpassword not like 'SCRAM-SHA-256$%'")
        assert cursor.fetchall() == []
