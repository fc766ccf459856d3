"""The queries that clients can ask about couriers and deliveries."""

from dataclasses import dataclass
from datetime import datetime

from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.courier import Plan
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.errors import DeliveryNotFound
from kernel.values import Address, CourierId, OrderId


@dataclass(frozen=True, kw_only=True)
class CourierView:
    """A courier, and where to be next."""

    id: CourierId
    available: bool
    plan: Plan


@dataclass(frozen=True, kw_only=True)
class DeliveryView:
    """A delivery. `courier_actions` is what the assigned courier still has to do for it."""

    id: OrderId
    status: DeliveryStatus
    assigned_courier: CourierId | None
    courier_actions: Plan
    pickup_address: Address
    delivery_address: Address
    ready_by: datetime | None


async def get_courier(courier_id: CourierId, uow: DeliveryUnitOfWork) -> CourierView:
    """Raises CourierNotFound."""
    courier = await uow.couriers.get(courier_id)
    return CourierView(id=courier.courier_id, available=courier.available, plan=courier.plan)


async def get_delivery(order_id: OrderId, uow: DeliveryUnitOfWork) -> DeliveryView:
    """Raises DeliveryNotFound, also while the order itself has not arrived."""
    delivery = await uow.deliveries.get(order_id)
    if delivery.pickup_address is None or delivery.delivery_address is None:
        raise DeliveryNotFound
    courier = await uow.couriers.get(delivery.courier_id) if delivery.courier_id is not None else None
    return DeliveryView(
        id=delivery.order_id,
        status=delivery.status,
        assigned_courier=delivery.courier_id,
        courier_actions=courier.actions_for(order_id) if courier is not None else (),
        pickup_address=delivery.pickup_address,
        delivery_address=delivery.delivery_address,
        ready_by=delivery.ready_by,
    )
