"""Tables that take the place of others, on real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from kernel.topology import BY_NAME
from shared.adapters.postgres import new_tables as module
from shared.adapters.postgres.new_tables import AlreadyRebuilding, SchemaChanged, new_tables
from shared.core.errors import Conflict
from shared.core.service_info import ServiceInfo
from shared.host.migrations import migrate
from shared.host.provision import Database

DEFINITION = """
select c.relname, c.reloptions::text, c.relacl::text, pg_get_indexdef(i.indexrelid), i.indisprimary,
    (select string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull), ', ' order by attnum)
        from pg_attribute where attrelid = c.oid and attnum > 0)
from pg_class c left join pg_index i on i.indexrelid = c.oid
where c.relname like '%orders%' order by c.relname
"""
ROW = (
    "insert into {} values ($1, 1, 1, 'Approved', 0, 'PENDING', 'ada', 'r', 'Ajanta', '[]', 0, '[]', '', now(), now())"
)


@pytest.fixture
def database(new_database: Callable[[str | ServiceInfo], Database]) -> Database:
    """The order history's database."""
    database = new_database("order_history")
    migrate(BY_NAME["order_history"], database.migrations_url)
    return database


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def nothing_more(_position: int) -> None:
    """There is nothing to catch up with."""


async def definition(connection: "asyncpg.Connection[Any]") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(DEFINITION)]


async def test_they_are_defined_as_those_were(database: Database) -> None:
    async with connected(database.migrations_url) as owner:
        before = await definition(owner)
        assert len(before) == 5
        for _ in range(2):
            async with new_tables(database.migrations_url, ["orders"]) as tables:
                await tables.index()
                await tables.analyze()
                await tables.swap(nothing_more)
            assert await definition(owner) == before


async def test_what_was_missing_when_it_began_is_missing_no_more(database: Database) -> None:
    insert = "insert into missing_messages (partition, sender, after_row, before_row) values (0, 'order', $1, $2)"
    async with connected(database.migrations_url) as owner:
        await owner.execute(insert, 1, 3)
        async with new_tables(database.migrations_url, ["orders"]) as tables:
            await owner.execute(insert, 5, 7)  # of which it may not know
            await tables.index()
            await tables.swap(nothing_more)
        assert await owner.fetch("select before_row from missing_messages") == [(7,)]


async def test_only_the_keys_are_kept_while_they_are_filled(database: Database) -> None:
    unique = "select indisunique from pg_index where indrelid = 'orders_rebuilt'::regclass order by 1"
    async with connected(database.migrations_url) as owner, new_tables(database.migrations_url, ["orders"]) as tables:
        assert [kept for (kept,) in await owner.fetch(unique)] == [True]
        await tables.index()
        assert [kept for (kept,) in await owner.fetch(unique)] == [False, False, False, True]


async def test_a_session_with_prepared_statements_goes_on(database: Database) -> None:
    async with connected(database.migrations_url) as owner, connected(database.url) as service:
        await owner.execute(ROW.format("orders"), "old")
        look = await service.prepare("select id, words, ordered_items from orders where consumer_id = $1 order by 1")
        write = await service.prepare(ROW.format("orders"))
        for _ in range(10):  # until the server keeps a generic plan, which names the table by its number
            assert [row["id"] for row in await look.fetch("ada")] == ["old"]
        async with new_tables(database.migrations_url, ["orders"]) as tables:
            await tables.index()
            await owner.execute(ROW.format("orders_rebuilt"), "new")
            await tables.swap(nothing_more)
        assert [row["id"] for row in await look.fetch("ada")] == ["new"]
        await write.fetch("newer")
        assert [row["id"] for row in await look.fetch("ada")] == ["new", "newer"]


async def test_a_transaction_of_the_subscription_comes_before_or_after(database: Database) -> None:
    """It reads the table, then writes its row, then the table: here it is in between when the swap begins."""
    async with connected(database.migrations_url) as owner, connected(database.url) as service:
        await owner.execute("insert into subscriptions (partition, position) values (0, 7), (1, 5)")
        seen: list[int] = []

        async def note(position: int) -> None:
            seen.append(position)
            await owner.execute(ROW.format("orders_rebuilt"), "caught up")

        async with new_tables(database.migrations_url, ["orders"]) as tables:
            await tables.index()
            async with service.transaction():
                await service.fetch("select from orders")
                swapping = asyncio.create_task(tables.swap(note))
                await _waits_for_a_lock(owner)
                await service.execute("update subscriptions set position = 8 where partition = 0")
                await service.execute(ROW.format("orders"), "before")
            await swapping
        assert seen == [8]
        assert await service.fetchval("select string_agg(id, ' ') from orders") == "caught up"


async def test_a_swap_that_takes_too_long_changes_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWAP_SECONDS", 0.5)
    async with connected(database.migrations_url) as owner, connected(database.url) as service:
        before = await definition(owner)
        async with new_tables(database.migrations_url, ["orders"]) as tables:
            await tables.index()
            async with service.transaction():
                await service.fetch("select from orders")
                with pytest.raises(Conflict):
                    await tables.swap(nothing_more)

            async def never(_position: int) -> None:
                await asyncio.Event().wait()

            with pytest.raises(Conflict, match="too long"):
                await tables.swap(never)
            await service.execute(ROW.format("orders"), "goes on")
            await tables.swap(nothing_more)
        assert await definition(owner) == before
        assert await owner.fetchval("select count(*) from orders") == 0


async def test_after_a_fault_nothing_is_left(database: Database) -> None:
    async with connected(database.migrations_url) as owner:
        before = await definition(owner)

        async def fails(_position: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            async with new_tables(database.migrations_url, ["orders"]) as tables:
                await tables.index()
                await tables.swap(fails)
        assert await definition(owner) == before


async def test_what_was_migrated_meanwhile_is_not_undone(database: Database) -> None:
    async with connected(database.migrations_url) as owner:
        async with new_tables(database.migrations_url, ["orders"]) as tables:
            await tables.index()
            await owner.execute("alter table orders add column more text")
            await owner.execute("update alembic_version set version_num = '9999'")
            with pytest.raises(SchemaChanged):
                await tables.swap(nothing_more)
        assert "more text" in str(await definition(owner))


async def test_one_at_a_time(database: Database) -> None:
    async with new_tables(database.migrations_url, ["orders"]):
        with pytest.raises(AlreadyRebuilding):
            async with new_tables(database.migrations_url, ["orders"]):
                pass
    async with new_tables(database.migrations_url, ["orders"]):
        pass


async def _waits_for_a_lock(connection: "asyncpg.Connection[Any]") -> None:
    """Returns when the swap stands behind somebody else's lock."""
    while not await connection.fetchval("select count(*) from pg_locks where not granted and mode like 'AccessExcl%'"):
        await asyncio.sleep(0.01)
