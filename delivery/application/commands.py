"""The commands that couriers can send to the delivery service."""

from delivery.application.assignment import assign_delivery, release_courier
from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.courier import Courier
from delivery.domain.errors import DeliveryNotFound
from kernel.values import CourierId, OrderId
from shared.core.messages import Command
from shared.messaging.handlers import handles


class SetCourierAvailability(Command):
    courier_id: CourierId
    available: bool


class DeliverOrder(Command):
    order_id: OrderId


@handles
async def set_courier_availability(command: SetCourierAvailability, uow: DeliveryUnitOfWork) -> None:
    courier = await uow.couriers.find(command.courier_id) or await uow.couriers.add(Courier(id=command.courier_id))
    courier.set_available(command.available, uow.clock())
    await assign_delivery(courier, uow)


@handles
async def deliver_order(command: DeliverOrder, uow: DeliveryUnitOfWork) -> None:
    delivery = await uow.deliveries.get(command.order_id)
    if not delivery.created:
        raise DeliveryNotFound
    if (courier_id := delivery.deliver()) is not None:
        await release_courier(courier_id, command.order_id, uow)
