"""Bringing together deliveries that wait and couriers that are free."""

from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.courier import Courier
from delivery.domain.delivery import Delivery
from kernel.values import CourierId, OrderId


async def assign_courier(delivery: Delivery, uow: DeliveryUnitOfWork) -> None:
    """Assigns the courier that has been free longest to a delivery that may have begun to wait."""
    if delivery.waits_for_courier:
        await _assign(uow)


async def assign_delivery(courier: Courier, uow: DeliveryUnitOfWork) -> None:
    """Assigns the delivery that has waited longest to a courier that may have become free."""
    if courier.free_since is not None:
        await _assign(uow)


async def release_courier(courier_id: CourierId, delivery_id: OrderId, uow: DeliveryUnitOfWork) -> None:
    """Releases the courier from a delivery that is over; the courier may have become free."""
    courier = await uow.couriers.get(courier_id)
    courier.drop(delivery_id, uow.clock())
    await assign_delivery(courier, uow)


async def _assign(uow: DeliveryUnitOfWork) -> None:
    """Assigns one pair. One line was empty before and the other has grown by one, so there is one pair at most."""
    if pair := await uow.next_to_assign():
        delivery, courier = pair
        delivery.schedule(courier)
