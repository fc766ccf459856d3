"""The servers from the wheels, and who may do what in their databases."""

import asyncio
from collections.abc import Callable
from contextlib import closing

import nats
import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extras import LogicalReplicationConnection

from kernel.topology import BY_NAME, FTGO, SERVICES
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database, main, provision, roles_of
from tests.support.infra import PASSWORD, Infra, NatsServer
from tools.system.process import free_port

NewDatabase = Callable[[str | ServiceInfo], Database]


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_each_role_has_the_rights_of_its_task_and_no_more(new_database: NewDatabase) -> None:
    database = new_database("consumer")
    query(database.migrations_url, "create table things (id int primary key); create publication p for table things")
    query(database.migrations_url, "grant select, insert on things to consumer_service")
    query(database.url, "insert into things values (1)")
    assert query(database.url, "select id from things") == [(1,)]
    with pytest.raises(errors.InsufficientPrivilege):
        query(database.url, "create table mine (id int)")
    with pytest.raises(errors.InsufficientPrivilege):
        query(database.url, "create temporary table mine (id int)")
    with pytest.raises(errors.InsufficientPrivilege):
        query(database.relay_url, "select * from things")
    with closing(psycopg2.connect(database.relay_url, connection_factory=LogicalReplicationConnection)) as relay:
        relay.cursor().create_replication_slot(f"slot_of_{database.name}", output_plugin="pgoutput")


def test_no_role_reaches_another_database(infra: Infra, new_database: NewDatabase) -> None:
    consumer, kitchen = new_database("consumer"), new_database("kitchen")
    for url in (consumer.url, consumer.migrations_url, consumer.relay_url):
        for elsewhere in (kitchen.name, "postgres", "template1"):
            with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
                query(url.replace(f"/{consumer.name}", f"/{elsewhere}"), "select 1")


def test_provisioning_again_keeps_what_is_there_and_takes_a_new_password(infra: Infra) -> None:
    service = ServiceInfo("again", 1, "again", FTGO)
    passwords = dict.fromkeys(roles_of(service), PASSWORD)
    database = provision(infra.admin_url, passwords, [service])["again"]
    query(database.migrations_url, "create table things (id int)")
    odd = dict.fromkeys(roles_of(service), "it's @ new/one")
    database = provision(infra.admin_url, odd, [service])["again"]
    assert query(database.migrations_url, "select count(*) from things") == [(0,)]


def test_all_services_get_a_database(infra: Infra) -> None:
    passwords = {role: PASSWORD for service in SERVICES for role in roles_of(service)}
    made = provision(infra.admin_url, passwords, SERVICES)
    assert made.keys() == BY_NAME.keys()
    assert query(made["order"].url, "select current_database(), current_user") == [("ordering", "ordering_service")]


def test_provisioning_runs_as_a_program(infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTGO_ADMIN_URL", infra.admin_url)
    monkeypatch.setenv("FTGO_ROLE_PASSWORD", PASSWORD)
    assert main(FTGO, SERVICES) == 0
    monkeypatch.delenv("FTGO_ROLE_PASSWORD")
    assert main(FTGO, SERVICES) == 1


def test_provisioning_waits_with_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("FTGO_ADMIN_URL", f"postgresql://admin:none@127.0.0.1:{free_port()}/postgres")
    monkeypatch.setenv("FTGO_WAIT_SECONDS", "0.5")
    with caplog.at_level("INFO", logger="provision"):
        assert main(FTGO, SERVICES) == 1
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]
    assert "Connection refused" in caplog.text


def test_the_write_ahead_log_is_logical(infra: Infra) -> None:
    assert query(infra.admin_url, "show wal_level") == [("logical",)]


async def test_jetstream_keeps_messages_over_a_kill(new_nats: Callable[[], NatsServer]) -> None:
    broker = new_nats()
    client = await nats.connect(broker.url, allow_reconnect=False)
    await client.jetstream().add_stream(name="S", subjects=["s.>"])
    await client.jetstream().publish("s.1", b"kept")
    await client.close()
    await asyncio.to_thread(broker.server.kill)
    await asyncio.to_thread(broker.server.start)
    client = await nats.connect(broker.url, allow_reconnect=False)
    assert (await client.jetstream().get_msg("S", seq=1)).data == b"kept"
    await client.close()


def test_postgres_recovers_from_a_kill(infra: Infra, new_database: NewDatabase) -> None:
    database = new_database("consumer")
    query(database.migrations_url, "create table things (id int)")
    infra.postgres.kill()
    infra.postgres.start()
    assert query(database.migrations_url, "select count(*) from things") == [(0,)]
