"""What the tests of the delivery service share: messages, and a database that handles them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from delivery.adapters import memory, postgres
from delivery.application import commands, reactions
from delivery.application.commands import SetCourierAvailability
from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.courier import Courier
from delivery.domain.delivery import Delivery
from kernel.values import Address, ConsumerId, CourierId, Money, OrderId, RestaurantId, TicketId
from kitchen.contracts import TicketAccepted, TicketCancelled, TicketPickedUp
from order.contracts import OrderCancelled, OrderCreated, OrderRejected
from restaurant.contracts import RestaurantCreated
from shared.adapters.memory.database import MemoryDatabase
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.context import Cause
from shared.core.ids import new_id
from shared.core.messages import Event, Message
from shared.core.policy import Policy
from shared.messaging.handlers import Handlers
from shared.testing.system import VirtualClock
from shared.unit_of_work.unit_of_work import Database, Units

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
READY_BY = NOON + timedelta(minutes=20)
MINUTE = timedelta(minutes=1)
RESTAURANT = RestaurantId("7f000000-0000-7000-8000-000000000001")
KITCHEN_DOOR = Address(street1="1 Main Street", city="Oakland", state="CA", zip="94611")
FRONT_DOOR = Address(street1="9 Amazing View", street2="Flat 4", city="Oakland", state="CA", zip="94612")

_handlers = Handlers.of(commands, reactions)


class World:
    """A delivery service on a database, without a broker: what is handled is brought to it by the test."""

    def __init__(self, database: Database, make: Any) -> None:
        self.clock = VirtualClock(NOON)
        self.published: list[Event] = []
        self.units: Units[DeliveryUnitOfWork] = Units(
            database, lambda transaction: make(transaction, self.clock, Policy()), self.published.extend
        )

    async def handle(self, *messages: Message) -> None:
        """Handles messages one after another in one unit of work, a minute apart."""
        async with self.units.begin() as uow:
            await uow.prefetch(messages)
            for message in messages:
                await self.handle_in(uow, message)

    async def handle_in(self, uow: DeliveryUnitOfWork, message: Message) -> None:
        """The same in a unit of work of the test's."""
        self.clock.advance(MINUTE)
        with uow.attempt(Cause("test", "test", "test")):
            await _handlers[type(message)](message, uow)

    async def delivery(self, order_id: OrderId) -> Delivery:
        """The delivery as it is stored."""
        async with self.units.begin() as uow:
            return await uow.deliveries.get(order_id)

    async def courier(self, courier_id: CourierId) -> Courier:
        """The courier as stored."""
        async with self.units.begin() as uow:
            return await uow.couriers.get(courier_id)

    async def couriers_of(self, *order_ids: OrderId) -> list[CourierId | None]:
        """Who brings each of the deliveries."""
        return [(await self.delivery(order_id)).courier_id for order_id in order_ids]


def in_memory() -> World:
    """A world that knows nothing yet."""
    return World(MemoryDatabase("delivery"), memory.unit_of_work)


async def with_restaurant() -> World:
    """A world in memory that knows the restaurant."""
    world = in_memory()
    await world.handle(restaurant_created())
    return world


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[World]:
    """A world in a database that has been migrated."""
    database = PostgresDatabase(url, postgres.TABLES)
    try:
        yield World(database, postgres.unit_of_work)
    finally:
        await database.close()


def new_order() -> OrderId:
    """An order's id."""
    return OrderId(new_id())


def new_courier() -> CourierId:
    """A courier's id."""
    return CourierId(new_id())


def restaurant_created() -> RestaurantCreated:
    """The restaurant at the kitchen door opens."""
    return RestaurantCreated(restaurant_id=RESTAURANT, name="Ajanta", address=KITCHEN_DOOR, menu=())


def order_created(order_id: OrderId) -> OrderCreated:
    """Somebody at the front door has ordered from the restaurant."""
    return OrderCreated(
        order_id=order_id,
        consumer_id=ConsumerId("c"),
        restaurant_id=RESTAURANT,
        restaurant_name="Ajanta",
        line_items=(),
        order_total=Money(1),
        deliver_at=READY_BY,
        deliver_to=FRONT_DOOR,
    )


def order_rejected(order_id: OrderId) -> OrderRejected:
    """The order will not be."""
    return OrderRejected(order_id=order_id, reason="account is disabled")


def order_cancelled(order_id: OrderId) -> OrderCancelled:
    """The order is cancelled."""
    return OrderCancelled(order_id=order_id)


def ticket_accepted(order_id: OrderId, accepted_at: datetime = NOON) -> TicketAccepted:
    """The restaurant cooks."""
    return TicketAccepted(ticket_id=TicketId("t"), order_id=order_id, accepted_at=accepted_at, ready_by=READY_BY)


def ticket_picked_up(order_id: OrderId) -> TicketPickedUp:
    """It has left the restaurant."""
    return TicketPickedUp(ticket_id=TicketId("t"), order_id=order_id)


def ticket_cancelled(order_id: OrderId) -> TicketCancelled:
    """Nobody will cook it."""
    return TicketCancelled(ticket_id=TicketId("t"), order_id=order_id)


def on_duty(courier_id: CourierId) -> SetCourierAvailability:
    """The courier takes deliveries."""
    return SetCourierAvailability(courier_id=courier_id, available=True)


def off_duty(courier_id: CourierId) -> SetCourierAvailability:
    """The courier takes no further delivery."""
    return SetCourierAvailability(courier_id=courier_id, available=False)
