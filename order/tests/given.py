"""What the order service's tests begin with."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from kernel.values import Address, ConsumerId, LineItem, MenuItem, MenuItemId, Money, OrderId, RestaurantId, TicketId
from order.adapters import memory
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.order import Order, OrderState
from order.domain.restaurant import Restaurant
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction

ORDER = OrderId("0197f2b0-0000-7000-8000-000000000001")
CONSUMER = ConsumerId("0197f2b0-0000-7000-8000-000000000002")
RESTAURANT = RestaurantId("0197f2b0-0000-7000-8000-000000000003")
TICKET = TicketId("0197f2b0-0000-7000-8000-000000000004")
NOBODY = "0197f2b0-0000-7000-8000-00000000ffff"

CURRY, NAAN, WATER = MenuItemId("curry"), MenuItemId("naan"), MenuItemId("water")
MENU = (
    MenuItem(id=CURRY, name="Curry", price=Money(1200)),
    MenuItem(id=NAAN, name="Naan", price=Money(300)),
    MenuItem(id=WATER, name="Tap water", price=Money(0)),
)
LINE_ITEMS = (
    LineItem(menu_item_id=CURRY, name="Curry", price=Money(1200), quantity=2),
    LineItem(menu_item_id=NAAN, name="Naan", price=Money(300), quantity=1),
)
TOTAL = Money(2700)
NOW = datetime.now(UTC)
DELIVER_AT = NOW + timedelta(hours=1)
DELIVER_TO = Address(street1="1 Main Street", city="Oakland", state="CA", zip="94611")


def in_memory(transaction: Transaction, clock: Clock, policy: Policy) -> OrderUnitOfWork:
    """The unit of work on a memory database."""
    return memory.unit_of_work(cast(Any, transaction), clock, policy)


def a_restaurant() -> Restaurant:
    """With curry, naan, and water for nothing."""
    return Restaurant(id=RESTAURANT, name="Ajanta", menu=MENU)


def an_order(state: OrderState) -> Order:
    """In that state, two curries and a naan."""
    order = Order.place(ORDER, CONSUMER, a_restaurant(), {NAAN: 1, CURRY: 2}, DELIVER_AT, DELIVER_TO, NOW)
    if state is OrderState.REJECTED:
        order.reject("no")
    elif state is not OrderState.APPROVAL_PENDING:
        order.approve(TICKET)
        if state in (OrderState.CANCEL_PENDING, OrderState.CANCELLED):
            order.begin_cancel()
        if state is OrderState.CANCELLED:
            order.confirm_cancel()
        if state is OrderState.REVISION_PENDING:
            order.begin_revise({CURRY: 1})
    assert order.state is state
    return order


async def stored(uow: OrderUnitOfWork, state: OrderState) -> None:
    """Such an order, and its restaurant, are in the database."""
    if await uow.restaurants.find(RESTAURANT) is None:
        await uow.restaurants.add(a_restaurant())
    await uow.orders.add(an_order(state))
