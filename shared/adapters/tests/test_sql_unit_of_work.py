"""A service that is put together by hand: it has no container and no sagas, and its handlers write SQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.postgres.database import PostgresDatabase
from shared.adapters.postgres.outbox import Outbox
from shared.adapters.postgres.unit_of_work import SqlUnitOfWork
from shared.core.clock import utc_now
from shared.core.errors import DomainError
from shared.core.messages import Command, Event
from shared.host.housekeeping import Housekeeping, Retention
from shared.host.provision import Database
from shared.messaging.broker import Publication, subject_of
from shared.messaging.envelope import Envelope
from shared.messaging.handlers import Handlers
from shared.messaging.outbox import new_envelope
from shared.processing.dispatcher import Dispatcher
from shared.processing.subscription import Subscription
from shared.unit_of_work.unit_of_work import Units
from tests.support.infra import Infra
from tests.support.old_data import run_sql
from tests.support.schema import make_framework_tables


class BookReturned(Event, service="returns", key="book"):
    book: str


class ShelveBook(Command, service="shelves", key="book"):
    book: str


class BookShelved(Event, service="shelves", key="book"):
    book: str


class Torn(DomainError):
    text = "the book is torn"


async def on_returned(event: BookReturned, uow: SqlUnitOfWork) -> None:
    connection = await uow.connection()
    await connection.execute(text("insert into shelf values (:book)"), {"book": event.book})
    await Outbox(connection).add(BookShelved(book=event.book))


async def shelve(command: ShelveBook, uow: SqlUnitOfWork) -> None:
    connection = await uow.connection()
    await connection.execute(text("insert into shelf values (:book)"), {"book": command.book})
    await Outbox(connection).add(BookShelved(book=command.book))
    raise Torn


@asynccontextmanager
async def shelving(url: str, broker: MemoryBroker) -> AsyncIterator[None]:
    """The service, as somebody would write it who uses nothing but the inbox, the outbox and subscriptions."""
    handlers = Handlers.of(on_returned, shelve)
    database = PostgresDatabase(url)
    units = Units(database, SqlUnitOfWork)
    subscription = Subscription(
        0, handlers.routes(), sessions=database, broker=broker, units=units.on, dispatcher=Dispatcher(handlers)
    )
    running = asyncio.create_task(subscription.run())
    try:
        yield
    finally:
        await subscription.stop(running)
        await database.close()


@pytest.fixture(scope="module")
def made(infra: Infra) -> Iterator[Database]:
    """A database without the tables of what the service does not use."""
    with infra.database("order") as database:
        make_framework_tables(database)
        run_sql(database.migrations_url, "drop table sagas, idempotency_keys")
        run_sql(database.migrations_url, "create table shelf (book text)")
        run_sql(database.migrations_url, f"grant select, insert on shelf to {database.service.service_role}")
        yield database


@pytest.fixture
def database(made: Database) -> Database:
    run_sql(made.migrations_url, "truncate shelf, inbox, outbox, set_aside, subscriptions, subscription_checkpoints")
    return made


async def publish(broker: MemoryBroker, row_id: str, envelope: Envelope) -> None:
    publication = Publication(
        row_id=row_id, subject=subject_of(0, envelope.route), headers=envelope.to_headers(), data=envelope.data
    )
    async with broker.connect() as connection:
        await connection.publish([publication])


async def handled(database: Database, position: int) -> None:
    while run_sql(database.url, "select position from subscriptions") != [(position,)]:
        await asyncio.sleep(0.01)


async def test_a_message_is_handled_once_together_with_what_its_handler_writes(database: Database) -> None:
    broker, returned = MemoryBroker(), new_envelope(BookReturned(book="Dune"), utc_now())
    async with shelving(database.url, broker):
        await publish(broker, "r1", returned)
        await handled(database, 1)
        await publish(broker, "r2", returned)
        await publish(broker, "r3", new_envelope(BookReturned(book="Emma"), utc_now()))
        await handled(database, 3)
    assert run_sql(database.url, "select book from shelf") == [("Dune",), ("Emma",)]
    sent = run_sql(database.url, "select key, headers::json ->> 'ce-causationid' from outbox order by id")
    assert sent[0] == ("Dune", returned.id)
    assert [key for key, _ in sent] == ["Dune", "Emma"]


async def test_what_a_handler_has_written_before_it_refuses_is_rolled_back(database: Database) -> None:
    """Also when it came in one batch with others, whose effects stay."""
    broker = MemoryBroker()
    await publish(broker, "r1", new_envelope(BookReturned(book="Dune"), utc_now()))
    await publish(broker, "r2", new_envelope(ShelveBook(book="Torn"), utc_now()))
    await publish(broker, "r3", new_envelope(BookReturned(book="Emma"), utc_now()))
    async with shelving(database.url, broker):
        await handled(database, 3)
    assert run_sql(database.url, "select book from shelf") == [("Dune",), ("Emma",)]
    assert run_sql(database.url, "select key from outbox order by id") == [("Dune",), ("Emma",)]
    assert len(run_sql(database.url, "select message_id from inbox")) == 3


async def test_housekeeping_looks_for_nothing_that_the_service_does_not_have(database: Database) -> None:
    run_sql(database.url, "insert into inbox values ('old', 'r', null, now() - interval '9 days')")
    own = PostgresDatabase(database.url)
    house = Housekeeping(own.engine, Retention(inbox=timedelta(days=8)))
    await house.once()
    await house.measure()
    await own.close()
    assert run_sql(database.url, "select message_id from inbox") == []
