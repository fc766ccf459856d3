"""Outbox, relay and inbox in a FastAPI service of your own: `uvicorn shared.examples.outbox:app`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from shared import Application, Event, Handlers, ServiceInfo, Units
from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.keeper import Keeper
from shared.adapters.postgres.addresses import engine_url
from shared.adapters.postgres.database import PostgresDatabase
from shared.adapters.postgres.migrate import migrate_library
from shared.adapters.postgres.outbox import Outbox
from shared.adapters.postgres.unit_of_work import SqlUnitOfWork
from shared.processing.dispatcher import Dispatcher
from shared.processing.subscription import Subscription
from shared.relay.relay import Relay

URL, NATS_URL, LENDING = os.environ["DATABASE_URL"], os.environ["NATS_URL"], Application("lending")
engine = create_async_engine(engine_url(URL, "asyncpg"))


class BookLent(Event, service="loans", key="book"):
    book: str
    member: str


async def notify(event: BookLent, uow: SqlUnitOfWork) -> None:  # once per event: the inbox is in the same transaction
    await (await uow.connection()).execute(text("insert into notices values (:book, :member)"), vars(event))


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    await asyncio.to_thread(migrate_library, URL)
    nats, handlers, database = NatsAddress(NATS_URL, LENDING), Handlers.of(notify), PostgresDatabase(URL)
    broker, units, dispatcher = NatsBroker(nats), Units(database, SqlUnitOfWork), Dispatcher[SqlUnitOfWork](handlers)
    keeper, relay = Keeper(nats), Relay(ServiceInfo("loans", 8000, "loans", LENDING), URL, broker)
    inbox = Subscription(0, handlers.routes(), sessions=database, broker=broker, units=units.on, dispatcher=dispatcher)
    async with asyncio.TaskGroup() as tasks:
        keeping, _, reading = [tasks.create_task(each.run()) for each in (keeper, relay, inbox)]
        yield
        relay.stop()
        await inbox.stop(reading)
        keeping.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/books/{book}/loans", status_code=204)
async def lend(book: str, member: str) -> None:
    async with engine.begin() as connection:  # the loan and its event are committed together, or not at all
        await connection.execute(text("insert into loans values (:book, :member)"), {"book": book, "member": member})
        await Outbox(connection).add(BookLent(book=book, member=member))
