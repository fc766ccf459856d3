"""What the order service does when it is asked to, and when something has happened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kernel.values import MenuItem, MenuItemId, Money, OrderId, RestaurantId
from order.application import commands, queries, reactions
from order.application.commands import CancelOrder, CreateOrder, OrderPlaced, OrderStateReply, ReviseOrder
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.errors import (
    MenuItemNotFound,
    OrderNotFound,
    OrderStateDoesNotAllowAction,
    OrderTotalBelowMinimum,
    RestaurantNotFound,
)
from order.domain.order import OrderState
from order.tests.given import (
    CONSUMER,
    CURRY,
    DELIVER_AT,
    DELIVER_TO,
    LINE_ITEMS,
    MENU,
    NAAN,
    NOBODY,
    ORDER,
    RESTAURANT,
    TICKET,
    TOTAL,
    in_memory,
    stored,
)
from restaurant.contracts import RestaurantCreated, RestaurantMenuRevised
from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import utc_now
from shared.core.context import Cause
from shared.core.messages import Message, Reply
from shared.core.policy import Policy
from shared.messaging.handlers import Handlers
from shared.unit_of_work.unit_of_work import Units

HANDLERS = Handlers.of(commands, reactions)
CREATE = CreateOrder(
    consumer_id=CONSUMER,
    restaurant_id=RESTAURANT,
    quantities={CURRY: 2, NAAN: 1},
    deliver_at=DELIVER_AT,
    deliver_to=DELIVER_TO,
)
CREATED = RestaurantCreated(restaurant_id=RESTAURANT, name="Ajanta", address=DELIVER_TO, menu=MENU)


class Service:
    """The handlers on a database in memory."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.units = Units(self.database, lambda tx: in_memory(tx, utc_now, Policy()))

    async def handle(self, message: Message, by: str = "request") -> Reply | None:
        async with self.units.begin() as uow:
            with uow.attempt(Cause("correlation", by, "")):
                return await HANDLERS[type(message)](message, uow)

    def sent(self) -> list[str]:
        return [publication.headers["ce-type"] for publication in self.database.outbox]

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[OrderUnitOfWork]:
        async with self.units.begin() as uow:
            yield uow


async def service_with(state: OrderState | None) -> Service:
    service = Service()
    if state is not None:
        async with service.unit() as uow:
            await stored(uow, state)
        service.database.outbox.clear()
    return service


async def placed(service: Service, answer: Reply | None) -> queries.OrderView:
    assert isinstance(answer, OrderPlaced)
    async with service.unit() as uow:
        return await queries.get_order(answer.id, uow)


async def test_an_order_is_placed_at_the_prices_of_the_menu() -> None:
    service = Service()
    await service.handle(CREATED)
    view = await placed(service, await service.handle(CREATE))
    assert (view.state, view.order_total, view.line_items) == (OrderState.APPROVAL_PENDING, TOTAL, LINE_ITEMS)
    assert (view.consumer_id, view.restaurant_id) == (CONSUMER, RESTAURANT)
    assert (view.ticket_id, view.rejection) == (None, "")
    assert service.sent() == ["order.OrderCreated", "consumer.ValidateOrderByConsumer"]


async def test_each_order_is_another() -> None:
    service = Service()
    await service.handle(CREATED)
    first, second = await service.handle(CREATE), await service.handle(CREATE)
    assert (await placed(service, first)).order_id != (await placed(service, second)).order_id


async def test_a_menu_that_was_revised_counts_for_later_orders() -> None:
    service = Service()
    await service.handle(CREATED)
    first = await service.handle(CREATE)
    dearer = (MenuItem(id=CURRY, name="Vindaloo", price=Money(2000)),)
    await service.handle(RestaurantMenuRevised(restaurant_id=RESTAURANT, menu=dearer))
    with pytest.raises(MenuItemNotFound):
        await service.handle(CREATE)
    second = await service.handle(
        CreateOrder(
            consumer_id=CONSUMER, restaurant_id=RESTAURANT, quantities={CURRY: 1},
            deliver_at=DELIVER_AT, deliver_to=DELIVER_TO,
        )
    )  # fmt: skip
    assert (await placed(service, first)).order_total == TOTAL
    view = await placed(service, second)
    assert (view.order_total, view.line_items[0].name) == (2000, "Vindaloo")


def ordering(**changes: Any) -> CreateOrder:
    fields = {name: getattr(CREATE, name) for name in ("consumer_id", "restaurant_id", "quantities")}
    return CreateOrder(deliver_at=DELIVER_AT, deliver_to=DELIVER_TO, **{**fields, **changes})


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (ordering(restaurant_id=RestaurantId(NOBODY)), RestaurantNotFound),
        (ordering(quantities={MenuItemId("pizza"): 1}), MenuItemNotFound),
        (ordering(quantities={MenuItemId("water"): 1}), OrderTotalBelowMinimum),
        (CancelOrder(order_id=OrderId(NOBODY)), OrderNotFound),
        (ReviseOrder(order_id=OrderId(NOBODY), revised_quantities={CURRY: 1}), OrderNotFound),
        (ReviseOrder(order_id=ORDER, revised_quantities={MenuItemId("pizza"): 1}), MenuItemNotFound),
        (ReviseOrder(order_id=ORDER, revised_quantities={CURRY: 0, NAAN: 0}), OrderTotalBelowMinimum),
        (RestaurantMenuRevised(restaurant_id=RestaurantId(NOBODY), menu=MENU), RestaurantNotFound),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
async def test_what_is_refused_leaves_nothing(command: Message, error: type[Exception]) -> None:
    service = await service_with(OrderState.APPROVED)
    with pytest.raises(error):
        await service.handle(command)
    assert service.sent() == []
    assert set(service.database.events) == {("Order", ORDER)}


@pytest.mark.parametrize(
    ("command", "status", "sends"),
    [
        (CancelOrder(order_id=ORDER), "CancelPending", ["order.OrderCancelling", "kitchen.BeginCancelTicket"]),
        (
            ReviseOrder(order_id=ORDER, revised_quantities={CURRY: 1}),
            "RevisionPending",
            ["order.OrderProposedRevision", "kitchen.BeginReviseTicket"],
        ),
    ],
    ids=["cancel", "revise"],
)
async def test_the_first_step_is_done_at_once(command: Message, status: str, sends: list[str]) -> None:
    service = await service_with(OrderState.APPROVED)
    assert await service.handle(command) == OrderStateReply(status=status)
    assert service.sent() == sends
    with pytest.raises(OrderStateDoesNotAllowAction):
        await service.handle(command, by="another request")


async def test_what_clients_see_of_an_order() -> None:
    service = await service_with(OrderState.APPROVED)
    async with service.unit() as uow:
        view = await queries.get_order(ORDER, uow)
        assert (view.state, view.ticket_id) == (OrderState.APPROVED, TICKET)
        assert await queries.get_restaurant(RESTAURANT, uow) == RESTAURANT
        with pytest.raises(OrderNotFound):
            await queries.get_order(OrderId(NOBODY), uow)
        with pytest.raises(RestaurantNotFound):
            await queries.get_restaurant(RestaurantId(NOBODY), uow)
