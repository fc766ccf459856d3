"""What the relay does to its tables."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest

from kernel.topology import FTGO
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database
from shared.relay import database as relay_database
from shared.relay.database import PURGE_ROWS, Checkpoint, RelayDatabase, open_database
from shared.relay.replication import DatabaseUnavailable
from tests.support.infra import Infra
from tests.support.schema import make_framework_tables

NOW = datetime.now(UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def database(new_database: Callable[[str | ServiceInfo], Database]) -> Database:
    database = new_database("order")
    make_framework_tables(database)
    return database


@asynccontextmanager
async def sessions(database: Database) -> AsyncIterator[tuple[RelayDatabase, asyncpg.Connection]]:
    """The relay's session and the service's."""
    service = await asyncpg.connect(database.url)
    async with open_database(database.relay_url, FTGO) as relay:
        yield relay, service
    await service.close()


@asynccontextmanager
async def as_owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A session of the role that owns the tables."""
    connection = await asyncpg.connect(database.migrations_url)
    try:
        yield connection
    finally:
        await connection.close()


async def write(service: asyncpg.Connection, *created_at: datetime) -> list[int]:
    return [
        await service.fetchval(
            "insert into outbox (subject, key, headers, data, created_at)"
            " values ('s', 'k', '{}', '{}', $1) returning id",
            at,
        )
        for at in created_at
    ]


async def write_many(service: asyncpg.Connection, count: int, age: timedelta) -> list[int]:
    records = await service.fetch(
        "insert into outbox (subject, key, headers, data, created_at)"
        " select 's', 'k', '{}', '{}', now() - $1::interval from generate_series(1, $2) returning id",
        age,
        count,
    )
    return [record["id"] for record in records]


async def ids_since(relay: RelayDatabase, horizon: int | None) -> list[int]:
    return [row.id async for chunk in relay.rows_since(horizon) for row in chunk]


async def left(service: asyncpg.Connection) -> list[int]:
    return [record["id"] for record in await service.fetch("select id from outbox order by id")]


async def test_rows_go_after_the_retention_if_they_have_been_published(database: Database) -> None:
    async with sessions(database) as (relay, service):
        rows = await write(service, NOW - 3 * HOUR, NOW - 2 * HOUR, NOW - HOUR / 2, NOW)
        assert await relay.purge(HOUR, published_before=NOW - 2.5 * HOUR) == 1  # the second may be unpublished
        assert await left(service) == rows[1:]
        assert await relay.purge(HOUR, published_before=NOW) == 1
        assert await left(service) == rows[2:]
        assert await relay.purge(HOUR, published_before=NOW) == 0


async def test_a_purge_takes_a_bounded_number(database: Database) -> None:
    async with sessions(database) as (relay, service):
        await service.execute(
            "insert into outbox (subject, key, headers, data, created_at)"
            " select 's', 'k', '{}', '{}', now() - interval '1 day' from generate_series(1, $1)",
            PURGE_ROWS + 10,
        )
        assert await relay.purge(HOUR, published_before=NOW) == PURGE_ROWS
        assert await relay.purge(HOUR, published_before=NOW) == 10


async def test_rows_come_in_chunks_that_fit_into_memory(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_database, "CHUNK_CHARACTERS", 50_000)
    async with sessions(database) as (relay, service):
        await service.execute(
            "insert into outbox (subject, key, headers, data)"
            " select 's', 'k', '{}', repeat('x', case when n > 600 then 10000 else 1 end)"
            " from generate_series(1, 700) as n order by n"
        )
        chunks = [chunk async for chunk in relay.rows_since(None)]
    assert [row.id for chunk in chunks for row in chunk] == list(range(1, 701))
    assert len(chunks[0]) == relay_database.CHUNK_ROWS
    assert max(sum(len(row.data) for row in chunk) for chunk in chunks) <= 50_000 + 20 * 10_000


async def test_checkpoints_come_newest_first_and_are_replaced(database: Database) -> None:
    first, second = Checkpoint(7, 0x1_0000_0010, 70, NOW - HOUR), Checkpoint(3, 0x2_0000_0000, 80, NOW)
    async with sessions(database) as (relay, _):
        await relay.record(first)
        await relay.record(second)
        assert await relay.checkpoints() == [second, first]
        again = Checkpoint(7, second.lsn + 1, 90, NOW)
        await relay.record(again, instead_of=[second.row_id])
        assert await relay.checkpoints() == [again]


async def test_the_history_of_checkpoints_grows_sparse(database: Database) -> None:
    minute = (NOW - HOUR).replace(second=0, microsecond=0)
    old = [Checkpoint(1, 1, 1, NOW - 3 * DAY), Checkpoint(2, 2, 2, NOW - 2 * DAY)]
    in_one_minute = [
        Checkpoint(10 + second, 10 + second, 10, minute + timedelta(seconds=second)) for second in range(3)
    ]
    recent = [Checkpoint(20 + second, 20 + second, 20, NOW - timedelta(seconds=10 - second)) for second in range(3)]
    async with sessions(database) as (relay, _):
        for checkpoint in [*old, *in_one_minute, *recent]:
            await relay.record(checkpoint)
        await relay.thin_checkpoints(DAY)
        assert await relay.checkpoints() == [*reversed(recent), in_one_minute[-1]]


async def test_the_newest_checkpoint_stays_however_old_it_is(database: Database) -> None:
    only = Checkpoint(1, 1, 1, NOW - 30 * DAY)
    async with sessions(database) as (relay, _):
        await relay.record(only)
        await relay.thin_checkpoints(DAY)
        assert await relay.checkpoints() == [only]


async def test_rows_come_in_the_order_of_their_ids(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_database, "SCAN_IDS", 2)
    async with sessions(database) as (relay, service):
        rows = await write(service, *[NOW] * 5)
        async with as_owner(database) as owner:
            await owner.execute("select setval('outbox_id_seq', 1000)")
        rows += await write(service, *[NOW] * 5)
        assert await ids_since(relay, None) == rows


async def test_a_horizon_leaves_out_what_had_ended_and_nothing_else(database: Database) -> None:
    async with sessions(database) as (relay, service):
        await write(service, NOW, NOW)
        open_meanwhile = service.transaction()
        await open_meanwhile.start()
        late = await write(service, NOW - DAY)  # its id is lower than that of the next row, which is committed before
        other = await asyncpg.connect(database.url)
        before = await write(other, NOW)
        horizon = await relay.horizon()
        await open_meanwhile.commit()
        after = await write(other, NOW - DAY)
        await other.close()
        assert await ids_since(relay, horizon.xid) == [*late, *before, *after]
        assert await ids_since(relay, (await relay.horizon()).xid) == []


async def test_a_horizon_is_compared_across_the_end_of_the_numbers_of_transactions(database: Database) -> None:
    """Rows keep the lower 32 bits of a transaction's number."""
    async with sessions(database) as (relay, service):
        rows = await write(service, NOW)
        now = (await relay.horizon()).xid
        assert await ids_since(relay, now - 10) == rows
        assert await ids_since(relay, now + (1 << 32) - 10) == rows, "4294967296 transactions lie between the two"
        assert await ids_since(relay, now - (1 << 31)) == rows, "too many lie between to tell"


async def test_the_horizon_of_another_server_is_none(database: Database) -> None:
    checkpoint = Checkpoint(7, 1, 70, NOW, horizon=1000)
    async with sessions(database) as (relay, _):
        await relay.record(checkpoint)
        assert await relay.checkpoints() == [checkpoint]
        async with as_owner(database) as owner:
            await owner.execute("update relay_checkpoints set server = server + 1")
        assert await relay.checkpoints() == [dataclasses.replace(checkpoint, horizon=None)]


@pytest.mark.parametrize("age", [timedelta(days=-2), timedelta(minutes=1)], ids=["dated ahead", "young"])
async def test_old_rows_are_found_behind_any_others(database: Database, age: timedelta) -> None:
    async with sessions(database) as (relay, service):
        in_front = await write_many(service, PURGE_ROWS + 10, age)
        await write_many(service, PURGE_ROWS + 10, 3 * DAY)
        behind = await write_many(service, 10, timedelta(0))
        deleted = [await relay.purge(DAY, published_before=NOW) for _ in range(6)]
        assert await left(service) == in_front + behind
        assert max(deleted) <= 2 * PURGE_ROWS
        await write_many(service, 10, 3 * DAY)  # it goes round
        for _ in range(6):
            await relay.purge(DAY, published_before=NOW)
        assert await left(service) == in_front + behind


async def test_checkpoints_dated_ahead_grow_sparse_too(database: Database) -> None:
    minute = (NOW + DAY).replace(second=0, microsecond=0)
    ahead = [Checkpoint(10 + second, 10 + second, 10, minute + timedelta(seconds=second)) for second in range(3)]
    newest = Checkpoint(20, 20, 20, NOW)
    async with sessions(database) as (relay, _):
        for checkpoint in [*ahead, newest]:
            await relay.record(checkpoint)
        await relay.thin_checkpoints(DAY)
        assert await relay.checkpoints() == [newest, ahead[-1]]


async def test_a_database_without_tables_says_so(new_database: Callable[[str | ServiceInfo], Database]) -> None:
    async with open_database(new_database("order").relay_url, FTGO) as relay:
        with pytest.raises(DatabaseUnavailable, match="has not migrated it"):
            await relay.require_outbox()


async def test_a_wrong_password_is_waited_out(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="password"):
        async with open_database(database.relay_url.replace(":test@", ":wrong@"), FTGO):
            pass


async def test_a_session_is_lost_with_the_last_word_of_postgresql(database: Database, infra: Infra) -> None:
    """The server's FATAL error arrives a moment before the end of the connection; here that never comes."""
    server = urlsplit(database.relay_url)
    said_all = asyncio.Event()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            sink.write(data)
        said_all.set()

    async def serve(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(server.hostname, server.port)
        await asyncio.gather(pump(from_client, to_server), pump(from_server, to_client))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        through_proxy = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()
        async with open_database(through_proxy, FTGO) as relay:
            await relay.now()
            admin = await asyncpg.connect(infra.admin_url)
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database.name
            )
            await admin.close()
            await said_all.wait()
            for _ in range(10):  # what has arrived is read before the next question
                await asyncio.sleep(0)
            with pytest.raises(DatabaseUnavailable):
                await relay.now()
