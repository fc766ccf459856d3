"""Outbox and inbox in a transaction of the user's own, on real PostgreSQL, with each kind of connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.postgres.addresses import engine_url
from shared.adapters.postgres.connections import AnyConnection
from shared.adapters.postgres.inbox import Inbox
from shared.adapters.postgres.outbox import Outbox
from shared.core.context import Cause, handling
from shared.core.messages import Command, Event
from shared.host.provision import Database
from shared.messaging.envelope import MAX_DATA, Envelope, MessageTooLarge
from shared.relay.tests.support import running
from tests.support.infra import Infra
from tests.support.old_data import run_sql
from tests.support.schema import make_framework_tables

Begin = Callable[[], AbstractAsyncContextManager[AnyConnection]]

CAUSE = Cause(correlation_id="first", id="request", causation_id="before", traceparent="00-trace")


class BookLent(Event, service="library", key="book", schema=2, personal={"reader": ""}):
    book: str
    reader: str = "Ada"


class RemindReader(Command, service="library", key="book"):
    book: str


class NotForOthers(Event, key="book"):
    book: str


@pytest.fixture(scope="module")
def made(infra: Infra) -> Iterator[Database]:
    with infra.database("order") as database:
        make_framework_tables(database)
        yield database


@pytest.fixture
def database(made: Database) -> Database:
    run_sql(made.migrations_url, "truncate outbox, inbox")
    return made


@asynccontextmanager
async def _asyncpg(database: Database) -> AsyncIterator[AnyConnection]:
    async with (
        asyncpg.create_pool(database.url, min_size=1, max_size=1) as pool,
        pool.acquire() as own,
        own.transaction(),
    ):
        yield own


@asynccontextmanager
async def _engine(database: Database, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(engine_url(database.url, "asyncpg"), **options)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def _connection(database: Database) -> AsyncIterator[AnyConnection]:
    async with _engine(database) as engine, engine.begin() as own:
        yield own


@asynccontextmanager
async def _session(database: Database) -> AsyncIterator[AnyConnection]:
    async with _engine(database) as engine, AsyncSession(engine) as own, own.begin():
        yield own


@pytest.fixture(params=[_asyncpg, _connection, _session])
def begin(request: pytest.FixtureRequest, database: Database) -> Begin:
    """Begin a transaction that commits at the end of the block, and rolls back when it raises."""
    return lambda: request.param(database)


async def test_what_was_committed_is_published_and_what_was_rolled_back_is_not(
    database: Database, begin: Begin
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with begin() as own:
            await Outbox(own).add(BookLent(book="Emma"))
            raise ZeroDivisionError
    with handling(CAUSE):
        async with begin() as own:
            await Outbox(own).add(BookLent(book="Dune"), RemindReader(book="Dune"))
            await Outbox(own).add(BookLent(book="Ulysses"))
    broker = MemoryBroker()
    routes = ["event.library.BookLent", "command.library.RemindReader"]
    async with running(database, broker), broker.connect() as log, log.read(0, after=0, filters=routes) as feed:
        published: list[Envelope] = []
        while len(published) < 3:
            published += [Envelope.of(received) for received in await feed.take(10, 10)]
    assert [(each.route, each.key) for each in published] == [
        ("event.library.BookLent", "Dune"),
        ("command.library.RemindReader", "Dune"),
        ("event.library.BookLent", "Ulysses"),
    ]
    first = published[0]
    assert (first.correlation_id, first.causation_id, first.traceparent) == ("first", "request", "00-trace")
    assert (first.source, first.schema, first.data) == ("library", 2, '{"book":"Dune","reader":"Ada"}')
    assert len({each.id for each in published}) == 3


async def test_a_message_without_a_cause_begins_something(database: Database, begin: Begin) -> None:
    async with begin() as own:
        await Outbox(own).add(BookLent(book="Dune"))
    ((id_, correlation_id, causation_id),) = run_sql(
        database.url,
        "select h ->> 'ce-id', h ->> 'ce-correlationid', h ->> 'ce-causationid' from outbox, json(headers) as h",
    )
    assert id_ == correlation_id == causation_id != ""


async def test_what_nobody_could_receive_is_refused(database: Database, begin: Begin) -> None:
    async with begin() as own:
        with pytest.raises(TypeError, match="NotForOthers is not public"):
            await Outbox(own).add(NotForOthers(book="Dune"))
        with pytest.raises(MessageTooLarge):
            await Outbox(own).add(BookLent(book="D" * MAX_DATA))
        await Outbox(own).add(BookLent(book="Dune"))
    assert run_sql(database.url, "select key from outbox") == [("Dune",)]


async def test_a_message_is_claimed_once(begin: Begin) -> None:
    async with begin() as own:
        assert await Inbox(own).claim("m")
        assert not await Inbox(own).claim("m")
    async with begin() as own:
        assert not await Inbox(own).claim("m")
        assert await Inbox(own).claim("another")  # the transaction goes on


async def test_what_was_rolled_back_can_be_claimed_again(begin: Begin) -> None:
    with pytest.raises(ZeroDivisionError):
        async with begin() as own:
            assert await Inbox(own).claim("m")
            raise ZeroDivisionError
    async with begin() as own:
        assert await Inbox(own).claim("m")


async def test_of_two_that_claim_a_message_at_once_the_second_waits_for_the_first(
    database: Database, begin: Begin
) -> None:
    claimed, may_commit = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with begin() as own:
            assert await Inbox(own).claim("m")
            claimed.set()
            await may_commit.wait()

    async with asyncio.TaskGroup() as tasks, begin() as second:
        tasks.create_task(first())
        await claimed.wait()
        claiming = tasks.create_task(Inbox(second).claim("m"))
        while not run_sql(database.url, "select 1 from pg_locks where not granted and locktype = 'transactionid'"):
            await asyncio.sleep(0.01)
        may_commit.set()
        assert not await claiming


async def test_outside_of_a_transaction_both_are_refused(database: Database) -> None:
    driver = await asyncpg.connect(database.url)
    async with _engine(database, isolation_level="AUTOCOMMIT") as engine, engine.connect() as connection:
        for own in (driver, connection):
            with pytest.raises(RuntimeError, match="transaction"):
                await Outbox(own).add(BookLent(book="Dune"))
            with pytest.raises(RuntimeError, match="transaction"):
                await Inbox(own).claim("m")
    await driver.close()
    assert run_sql(database.url, "select key from outbox union all select message_id from inbox") == []
