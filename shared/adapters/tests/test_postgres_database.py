"""The database on PostgreSQL: what every database does, and what only a server can do to us."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import asyncpg
import psycopg2
import pytest
from asyncpg.transaction import Transaction
from sqlalchemy import Column, MetaData, Table, text
from sqlalchemy.exc import DBAPIError

from shared.adapters.postgres.database import PostgresDatabase, PostgresSession
from shared.adapters.postgres.errors import DatabaseUnavailable, TransactionTookTooLong, translated_errors
from shared.adapters.postgres.rows import RowMapping
from shared.adapters.postgres.tables import table_of
from shared.core.errors import Conflict, TechnicalFault
from shared.host.provision import Database
from shared.messaging.inbox import Claim
from shared.testing.database.given import (
    HOUR,
    Databases,
    OpenDatabase,
    Parcel,
    event,
    parcel,
)
from shared.testing.database.suite import DatabaseSuite
from tests.support.infra import Infra
from tests.support.schema import make_framework_tables
from tools.system.process import free_port

PARCELS = table_of(Parcel, "parcels")
_CREATE = """
create table parcels (
    id text primary key, version int not null, size text not null, weight int not null, fragile boolean not null,
    contents jsonb not null, labels jsonb not null, note text, sent_at timestamptz, insured jsonb
);
grant all on parcels to ordering_service
"""
_EMPTY = (
    "truncate parcels, events, snapshots, outbox, inbox, subscriptions, subscription_checkpoints, set_aside, sagas,"
    " idempotency_keys"
)


def run_sql(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture(scope="module")
def migrated(infra: Infra) -> Iterator[Database]:
    """One database for the whole module: it's emptied before each test."""
    with infra.database("order") as database:
        make_framework_tables(database, Path(__file__).with_name("migrations"))
        run_sql(database.migrations_url, _CREATE)
        yield database


@pytest.fixture
def provisioned(migrated: Database) -> Database:
    run_sql(migrated.migrations_url, _EMPTY)
    return migrated


@pytest.fixture
def databases(provisioned: Database) -> Databases:
    @asynccontextmanager
    async def opened() -> AsyncIterator[PostgresDatabase]:
        database = PostgresDatabase(provisioned.url, {Parcel: PARCELS})
        try:
            yield database
        finally:
            await database.close()

    return opened


class TestPostgresDatabase(DatabaseSuite):
    async def outbox(self, database: OpenDatabase) -> list[str]:
        assert isinstance(database, PostgresDatabase)
        async with database.transaction() as tx:
            return [
                json.loads(headers)["ce-id"]
                for (headers,) in await tx.driver.fetch("select headers from outbox order by id")
            ]


@asynccontextmanager
async def opened(database: Database, pool_size: int = 4) -> AsyncIterator[PostgresDatabase]:
    found = PostgresDatabase(database.url, {Parcel: PARCELS}, pool_size=pool_size)
    try:
        yield found
    finally:
        await found.close()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0.01)


async def terminate_all(infra: Infra, database: Database) -> None:
    """What a restart of the server does to its sessions."""
    admin = await asyncpg.connect(infra.admin_url)
    try:
        await admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1", database.name
        )
    finally:
        await admin.close()


async def test_a_session_that_is_terminated_in_a_transaction_is_a_fault_of_the_surroundings(
    infra: Infra, provisioned: Database
) -> None:
    async with opened(provisioned) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.flush()
                await terminate_all(infra, provisioned)
                await tx.inbox.find(["a"])
        async with database.transaction() as tx:
            assert await tx.inbox.find(["a"]) == {}


async def test_a_session_that_is_terminated_between_transactions_is_a_fault_of_the_surroundings(
    databases: Databases, infra: Infra, provisioned: Database
) -> None:
    async with databases() as database, database.session(1) as session:
        async with session.transaction() as tx:
            await tx.positions.take(0, 1, HOUR)
        assert isinstance(session, PostgresSession)
        await terminate_all(infra, provisioned)
        while not session._driver.is_closed():
            await asyncio.sleep(0.01)
        with pytest.raises(DatabaseUnavailable):
            async with session.transaction() as tx:
                await tx.positions.take(0, 1, HOUR)


async def test_a_session_that_is_terminated_before_the_commit_is_a_fault_of_the_surroundings(
    infra: Infra, provisioned: Database
) -> None:
    async with opened(provisioned) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.flush()
                await terminate_all(infra, provisioned)


@pytest.mark.parametrize("kept", [False, True], ids=["on a pool", "in a session"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space left"), BrokenPipeError(), TimeoutError()], ids=repr)
async def test_what_a_handler_raises_is_no_fault_of_the_database(
    error: OSError, kept: bool, provisioned: Database
) -> None:
    async with opened(provisioned) as database, database.session(1) as session:
        with pytest.raises(type(error)) as raised:
            async with (session if kept else database).transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.flush()
                raise error
        assert raised.value is error
        async with session.transaction() as tx:
            assert await tx.inbox.find(["a"]) == {}


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), asyncpg.InterfaceError("closed")], ids=repr)
async def test_what_the_driver_raises_is_a_fault_of_the_database(
    error: Exception, provisioned: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_arguments: object, **_options: object) -> None:
        raise error

    async with opened(provisioned) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                monkeypatch.setattr(asyncpg.Connection, "fetch", fails)
                await tx.inbox.find(["a"])
        monkeypatch.undo()
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                monkeypatch.setattr(asyncpg.prepared_stmt.PreparedStatement, "fetch", fails)
                await tx.connection.execute(text("select 1"))


async def test_a_refusal_of_a_query_of_sqlalchemys_is_translated(provisioned: Database) -> None:
    async with opened(provisioned) as database:
        with pytest.raises(TransactionTookTooLong):
            async with database.transaction() as tx:
                await tx.connection.execute(text("set statement_timeout = '10ms'"))
                await tx.connection.execute(text("select pg_sleep(30)"))
        with pytest.raises(Conflict):
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.flush()
                await tx.connection.execute(text("insert into inbox (message_id, row_id) values ('a', 'r')"))
        with pytest.raises(DBAPIError, match="syntax error"):
            async with database.transaction() as tx:
                await tx.connection.execute(text("selectt"))


async def test_pooled_connections_that_have_died_are_replaced(infra: Infra, provisioned: Database) -> None:
    async with opened(provisioned, pool_size=2) as database:
        async with database.transaction(), database.transaction():
            pass  # now the pool has two
        await terminate_all(infra, provisioned)
        for _ in range(3):
            async with database.transaction() as tx:
                assert await tx.inbox.find(["a"]) == {}


async def test_a_transaction_begins_only_when_something_is_written_before_its_end(provisioned: Database) -> None:
    async with opened(provisioned) as database:
        async with database.transaction() as tx:
            await tx.inbox.find(["a"])
            await tx.inbox.add([Claim(message_id="a", row_id="r")])
            assert not tx.driver.is_in_transaction()
            await tx.flush()
            assert tx.driver.is_in_transaction()
            await tx.inbox.add([Claim(message_id="b", row_id="r")])
        async with database.transaction() as tx:
            await tx.inbox.add([Claim(message_id="c", row_id="r")])
        async with database.transaction() as tx:
            assert {*await tx.inbox.find(["a", "b", "c"])} == {"a", "b", "c"}


async def test_rows_are_written_together_unless_they_are_the_same(provisioned: Database) -> None:
    async with opened(provisioned) as database:
        async with database.transaction() as tx:
            await tx.rows(Parcel).insert([parcel("a")])
        async with database.transaction() as tx:
            await tx.rows(Parcel).insert([parcel("b")])
            await tx.rows(Parcel).update([(parcel("a", 2), 1)])
            assert not tx.driver.is_in_transaction()
            await tx.rows(Parcel).update([(parcel("b", 2), 1)])
            assert tx.driver.is_in_transaction()


async def test_a_connection_that_is_left_in_a_transaction_is_not_used_again(
    provisioned: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled_once_more(*_: object) -> None:
        raise asyncio.CancelledError

    async with opened(provisioned, pool_size=1) as database:
        with monkeypatch.context() as during, pytest.raises(asyncio.CancelledError):
            during.setattr(Transaction, "commit", cancelled_once_more)
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.flush()
        async with database.transaction() as tx:
            assert await tx.inbox.find(["a"]) == {}


async def test_a_cancelled_transaction_is_undone_and_its_connection_of_use(provisioned: Database) -> None:
    async with opened(provisioned, pool_size=1) as database:
        inside = asyncio.Event()

        async def work() -> None:
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.flush()
                inside.set()
                await tx.statements.fetch("select pg_sleep(30)")

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.transaction() as tx:
            assert await tx.inbox.find(["a"]) == {}


async def test_a_server_that_is_away_is_a_fault_of_the_surroundings() -> None:
    database = PostgresDatabase(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction():
            pytest.fail("there is no server")
    with pytest.raises(DatabaseUnavailable):
        async with database.session(1):
            pytest.fail("there is no server")


async def test_a_server_that_has_no_room_is_a_fault_of_the_surroundings(infra: Infra, provisioned: Database) -> None:
    run_sql(infra.admin_url, "alter role ordering_service connection limit 0")
    try:
        async with opened(provisioned) as database:
            with pytest.raises(DatabaseUnavailable, match="too many connections"):
                async with database.transaction():
                    pytest.fail("there is no room")
    finally:
        run_sql(infra.admin_url, "alter role ordering_service connection limit -1")


@pytest.mark.parametrize(("source", "is_surroundings"), [("md.c", True), ("nodeAgg.c", False)])
def test_a_file_that_cannot_become_larger_is_a_fault_of_the_surroundings(source: str, is_surroundings: bool) -> None:
    """PostgreSQL has a code for a full disk, and for a quota or a limit only that of its own mistakes."""
    error = asyncpg.InternalServerError("could not extend file: File too large")
    error.server_source_filename = source
    with pytest.raises(DatabaseUnavailable if is_surroundings else asyncpg.InternalServerError), translated_errors():
        raise error


async def test_a_value_that_its_column_cannot_hold_is_no_fault_of_the_surroundings(provisioned: Database) -> None:
    """Or it would be tried for ever."""
    async with opened(provisioned) as database:
        for broken in (parcel("a", weight=1 << 40), parcel("a", note="\x00")):
            with pytest.raises(Exception) as error:  # noqa: PT011 - whatever it is, but not that
                async with database.transaction() as tx:
                    await tx.rows(Parcel).insert([broken])
            assert not isinstance(error.value, TechnicalFault)


async def test_two_transactions_that_append_the_same_version_at_once_conflict(provisioned: Database) -> None:
    async with opened(provisioned) as database, database.transaction() as slow:
        await slow.events.append([event("a", 1)], [])
        await slow.flush()

        async def fast() -> None:
            async with database.transaction() as tx:
                await tx.events.append([event("a", 1)], [])

        second = asyncio.create_task(fast())
        await eventually(lambda: _waits_for_a_lock(database))
        await slow.driver.execute("commit; begin")
        with pytest.raises(Conflict):
            await second


async def test_two_transactions_that_update_a_row_at_once_conflict(provisioned: Database) -> None:
    async with opened(provisioned) as database:
        async with database.transaction() as tx:
            await tx.rows(Parcel).insert([parcel("a")])
        async with database.transaction() as slow:
            await slow.rows(Parcel).update([(parcel("a", 2, weight=8), 1)])
            await slow.flush()

            async def fast() -> None:
                async with database.transaction() as tx:
                    await tx.rows(Parcel).update([(parcel("a", 2, weight=9), 1)])

            second = asyncio.create_task(fast())
            await eventually(lambda: _waits_for_a_lock(database))
        with pytest.raises(Conflict):
            await second
        async with database.transaction() as tx:
            assert await tx.rows(Parcel).load(["a"]) == [parcel("a", 2, weight=8)]


async def test_a_deadlock_is_a_conflict_of_one_of_the_two(provisioned: Database) -> None:
    async with opened(provisioned) as database:
        async with database.transaction() as tx:
            await tx.rows(Parcel).insert([parcel("a"), parcel("b")])
        met = asyncio.Barrier(2)

        async def update(first: str, second: str) -> str:
            try:
                async with database.transaction() as tx:
                    await tx.rows(Parcel).update([(parcel(first, 2), 1)])
                    await met.wait()
                    await tx.rows(Parcel).update([(parcel(second, 2), 1)])
            except Conflict:
                return "conflict"
            return "done"

        assert sorted(await asyncio.gather(update("a", "b"), update("b", "a"))) == ["conflict", "done"]


async def test_a_holder_whose_session_has_died_is_replaced_at_once(infra: Infra, provisioned: Database) -> None:
    async with opened(provisioned) as database, database.session(2) as two:
        with pytest.raises(DatabaseUnavailable):
            async with database.session(1) as one:
                async with one.transaction() as tx:
                    assert await tx.positions.take(0, 1, HOUR)
                    pid = await tx.driver.fetchval("select pg_backend_pid()")
                async with two.transaction() as tx:
                    assert not await tx.positions.take(0, 2, HOUR)
                run_sql(infra.admin_url, f"select pg_terminate_backend({pid}, 5000)")
                async with two.transaction() as tx:
                    assert await tx.positions.take(0, 2, HOUR)
                async with one.transaction() as tx:
                    await tx.positions.advance(0, 1, None, HOUR)


async def test_a_holder_that_has_ended_its_session_is_replaced(provisioned: Database) -> None:
    async with opened(provisioned) as database:
        async with database.session(1) as one, one.transaction() as tx:
            assert await tx.positions.take(0, 1, HOUR)
        async with database.session(2) as two:

            async def taken() -> bool:
                async with two.transaction() as tx:
                    return await tx.positions.take(0, 2, HOUR)

            await eventually(taken)


async def test_a_stopped_process_does_not_hold_its_successor_up(provisioned: Database) -> None:
    database = PostgresDatabase(provisioned.url, idle_seconds=0.1)
    try:
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.flush()
                await eventually(lambda: _is_free(provisioned, "a"))
                await tx.inbox.find(["a"])
    finally:
        await database.close()


@pytest.mark.parametrize(
    "settings",
    ["set transaction_timeout = '100ms'", "set statement_timeout = '100ms'"],
    ids=["transaction", "query"],
)
async def test_what_takes_too_long_is_a_fault_of_the_surroundings(settings: str, provisioned: Database) -> None:
    async with opened(provisioned) as database:
        async with database.session(1) as one:
            async with one.transaction() as tx:
                await tx.driver.execute(settings)  # of the next transaction: the time of this one runs already
            with pytest.raises(TransactionTookTooLong, match="timeout"):
                async with one.transaction() as tx:
                    await tx.statements.fetch("select pg_sleep(30)")
        async with database.transaction() as tx:
            assert await tx.inbox.find(["a"]) == {}


async def _is_free(database: Database, message_id: str) -> bool:
    """Whether no open transaction has claimed the message."""
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute("set lock_timeout = '20ms'")
        await connection.execute("insert into inbox (message_id, row_id) values ($1, 'r')", message_id)
    except asyncpg.LockNotAvailableError:
        return False
    finally:
        await connection.close()
    return True


async def _waits_for_a_lock(database: PostgresDatabase) -> bool:
    async with database.transaction() as tx:
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        return bool(await tx.driver.fetchval(waiting))


def test_a_class_and_its_table_must_agree() -> None:
    with pytest.raises(TypeError, match="weight"):
        RowMapping(
            Parcel,
            Table("p", MetaData(), *(Column(column.name) for column in PARCELS.columns if column.name != "weight")),
        )
