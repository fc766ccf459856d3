"""The reactions of the delivery service to events.

Events of an order and of its ticket arrive in either order: whichever comes first makes the delivery's row.
"""

from delivery.application.assignment import assign_courier, release_courier
from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.delivery import Delivery
from delivery.domain.restaurant import Restaurant
from kernel.values import OrderId
from kitchen.contracts import TicketAccepted, TicketCancelled, TicketPickedUp
from order.contracts import DeliveryAddressErased, OrderCancelled, OrderCreated, OrderRejected
from restaurant.contracts import RestaurantCreated
from shared.messaging.handlers import handles


@handles
async def copy_restaurant(event: RestaurantCreated, uow: DeliveryUnitOfWork) -> None:
    await uow.restaurants.add(Restaurant(id=event.restaurant_id, address=event.address))


@handles
async def create_delivery(event: OrderCreated, uow: DeliveryUnitOfWork) -> None:
    restaurant = await uow.restaurants.get(event.restaurant_id)
    delivery = await _delivery_of(event.order_id, uow)
    delivery.create(restaurant.address, event.deliver_to)
    await assign_courier(delivery, uow)


@handles
async def schedule_delivery(event: TicketAccepted, uow: DeliveryUnitOfWork) -> None:
    delivery = await _delivery_of(event.order_id, uow)
    delivery.accept(event.accepted_at, event.ready_by)
    await assign_courier(delivery, uow)


@handles
async def pick_up_delivery(event: TicketPickedUp, uow: DeliveryUnitOfWork) -> None:
    delivery = await _delivery_of(event.order_id, uow)
    delivery.pick_up()


@handles
async def cancel_delivery_with_ticket(event: TicketCancelled, uow: DeliveryUnitOfWork) -> None:
    await _cancel(event.order_id, uow)


@handles
async def cancel_delivery_of_rejected_order(event: OrderRejected, uow: DeliveryUnitOfWork) -> None:
    await _cancel(event.order_id, uow)


@handles
async def cancel_delivery_with_order(event: OrderCancelled, uow: DeliveryUnitOfWork) -> None:
    await _cancel(event.order_id, uow)


@handles
async def erase_delivery_address(event: DeliveryAddressErased, uow: DeliveryUnitOfWork) -> None:
    delivery = await _delivery_of(event.order_id, uow)
    delivery.erase_address()


async def _cancel(order_id: OrderId, uow: DeliveryUnitOfWork) -> None:
    delivery = await _delivery_of(order_id, uow)
    if (courier_id := delivery.cancel()) is not None:
        await release_courier(courier_id, order_id, uow)


async def _delivery_of(order_id: OrderId, uow: DeliveryUnitOfWork) -> Delivery:
    return await uow.deliveries.find(order_id) or await uow.deliveries.add(Delivery(id=order_id))
