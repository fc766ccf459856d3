"""The commands that clients can send to the order service."""

from datetime import datetime

from kernel.values import Address, ConsumerId, MenuItemId, OrderId, RestaurantId
from order.application.sagas.cancel_order import CancelOrderSaga
from order.application.sagas.create_order import CreateOrderSaga
from order.application.sagas.revise_order import ReviseOrderSaga
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.order import Order
from shared.core.ids import new_id
from shared.core.messages import Command, Reply
from shared.messaging.handlers import handles


class CreateOrder(Command["OrderPlaced"]):
    consumer_id: ConsumerId
    restaurant_id: RestaurantId
    quantities: dict[MenuItemId, int]
    deliver_at: datetime
    deliver_to: Address


class OrderPlaced(Reply):
    id: OrderId


class CancelOrder(Command["OrderStateReply"]):
    order_id: OrderId


class ReviseOrder(Command["OrderStateReply"]):
    order_id: OrderId
    revised_quantities: dict[MenuItemId, int]


class OrderStateReply(Reply, name="order.OrderStatus"):  # its name in stored answers
    status: str


@handles
async def create_order(command: CreateOrder, uow: OrderUnitOfWork) -> OrderPlaced:
    restaurant = await uow.restaurants.get(command.restaurant_id)
    order = Order.place(
        OrderId(new_id()),
        command.consumer_id,
        restaurant,
        command.quantities,
        command.deliver_at,
        command.deliver_to,
        uow.clock(),
    )
    await uow.orders.add(order)
    saga = CreateOrderSaga(
        order_id=order.order_id,
        consumer_id=order.consumer_id,
        restaurant_id=command.restaurant_id,
        line_items=order.line_items,
        order_total=order.total,
    )
    await uow.sagas.start(saga)
    return OrderPlaced(id=order.order_id)


@handles
async def cancel_order(command: CancelOrder, uow: OrderUnitOfWork) -> OrderStateReply:
    order = await uow.orders.get(command.order_id)
    saga = CancelOrderSaga(
        order_id=order.order_id, consumer_id=order.consumer_id, ticket_id=order.ticket, order_total=order.total
    )
    await uow.sagas.start(saga)
    return OrderStateReply(status=order.state)


@handles
async def revise_order(command: ReviseOrder, uow: OrderUnitOfWork) -> OrderStateReply:
    order = await uow.orders.get(command.order_id)
    saga = ReviseOrderSaga(
        order_id=order.order_id,
        consumer_id=order.consumer_id,
        ticket_id=order.ticket,
        current_order_total=order.total,
        revised_quantities=command.revised_quantities,
    )
    await uow.sagas.start(saga)
    return OrderStateReply(status=order.state)
