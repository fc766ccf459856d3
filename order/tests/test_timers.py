"""The order service as its container makes it: its sagas are woken when a reply is late."""

import asyncio

from dependency_injector.providers import Object

from kernel.topology import FTGO
from order.adapters import memory
from order.application.sagas.create_order import CreateOrderSaga
from order.main import container
from order.tests.given import CONSUMER, LINE_ITEMS, ORDER, RESTAURANT, TOTAL
from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase
from shared.host.settings import ServiceSettings

NOWHERE = "postgresql://nobody@localhost/nothing"


async def test_a_command_whose_reply_is_late_is_sent_again() -> None:
    service, database = container(), MemoryDatabase("order")
    settings = ServiceSettings(
        application=FTGO,
        port=1,
        database_url=NOWHERE,
        migrations_url=NOWHERE,
        lease_seconds=0.3,
        step_timeout_seconds=0.05,
    )
    service.settings.override(Object(settings))
    service.database.override(Object(database))
    service.broker.override(Object(MemoryBroker()))
    service.unit_of_work.override(Object(memory.unit_of_work))
    saga = CreateOrderSaga(
        order_id=ORDER, consumer_id=CONSUMER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS, order_total=TOTAL
    )
    async with service.units().begin() as uow:
        with uow.attempt():
            await uow.sagas.start(saga)
    (subscription,) = service.subscriptions()
    running = asyncio.create_task(subscription.run())
    while len(database.outbox) < 2:
        await asyncio.sleep(0.01)
    await subscription.stop(running)
    first, second = (each.headers for each in database.outbox[:2])
    assert (first["ce-type"], second["ce-id"]) == ("consumer.ValidateOrderByConsumer", first["ce-id"])
