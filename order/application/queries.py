"""The queries that clients can ask about orders."""

from dataclasses import dataclass

from kernel.values import ConsumerId, LineItem, Money, OrderId, RestaurantId, TicketId
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.order import OrderState


@dataclass(frozen=True, kw_only=True)
class OrderView:
    """An order as its consumer sees it. `rejection` says why it was rejected, "" if it was not."""

    order_id: OrderId
    state: OrderState
    order_total: Money
    consumer_id: ConsumerId
    restaurant_id: RestaurantId
    line_items: tuple[LineItem, ...]
    ticket_id: TicketId | None
    rejection: str


async def get_order(order_id: OrderId, uow: OrderUnitOfWork) -> OrderView:
    """Raises OrderNotFound."""
    order = await uow.orders.get(order_id)
    return OrderView(
        order_id=order.order_id,
        state=order.state,
        order_total=order.total,
        consumer_id=order.consumer_id,
        restaurant_id=order.restaurant_id,
        line_items=order.line_items,
        ticket_id=order.ticket_id,
        rejection=order.rejection,
    )


async def get_restaurant(restaurant_id: RestaurantId, uow: OrderUnitOfWork) -> RestaurantId:
    """Raises RestaurantNotFound while the copy has not arrived."""
    return RestaurantId((await uow.restaurants.get(restaurant_id)).id)
