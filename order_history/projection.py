"""How the order history follows from what happens: from the events of orders and deliveries, and from nothing else.

The version and the time of an event are its envelope's, so the same events make the same records at any time.
"""

from datetime import datetime

from delivery.contracts import DeliveryCancelled, DeliveryDelivered, DeliveryPickedUp, DeliveryScheduled
from kernel.values import OrderId
from order.contracts import (
    OrderApproved,
    OrderCancelled,
    OrderCancelling,
    OrderCancellingUndone,
    OrderCreated,
    OrderProposedRevision,
    OrderRejected,
    OrderRevised,
    OrderRevisingUndone,
)
from order_history.history import DeliveryStatus, OrderHistoryUnitOfWork, OrderRecord, OrderStatus, Revision
from shared.core.context import current_cause
from shared.messaging.handlers import handles


@handles
async def order_created(event: OrderCreated, uow: OrderHistoryUnitOfWork) -> None:
    order = await _order_became(OrderStatus.APPROVAL_PENDING, event.order_id, uow)
    order.created_at = _time()
    order.consumer_id = event.consumer_id
    order.restaurant_id, order.restaurant_name = event.restaurant_id, event.restaurant_name
    order.ordered_items, order.ordered_total = event.line_items, event.order_total
    order.index_words()


@handles
async def order_approved(event: OrderApproved, uow: OrderHistoryUnitOfWork) -> None:
    await _order_became(OrderStatus.APPROVED, event.order_id, uow)


@handles
async def order_rejected(event: OrderRejected, uow: OrderHistoryUnitOfWork) -> None:
    await _order_became(OrderStatus.REJECTED, event.order_id, uow)


@handles
async def order_cancelling(event: OrderCancelling, uow: OrderHistoryUnitOfWork) -> None:
    await _order_became(OrderStatus.CANCEL_PENDING, event.order_id, uow)


@handles
async def order_cancelling_undone(event: OrderCancellingUndone, uow: OrderHistoryUnitOfWork) -> None:
    await _order_became(OrderStatus.APPROVED, event.order_id, uow)


@handles
async def order_cancelled(event: OrderCancelled, uow: OrderHistoryUnitOfWork) -> None:
    await _order_became(OrderStatus.CANCELLED, event.order_id, uow)


@handles
async def order_proposed_revision(event: OrderProposedRevision, uow: OrderHistoryUnitOfWork) -> None:
    await _order_became(OrderStatus.REVISION_PENDING, event.order_id, uow)


@handles
async def order_revising_undone(event: OrderRevisingUndone, uow: OrderHistoryUnitOfWork) -> None:
    await _order_became(OrderStatus.APPROVED, event.order_id, uow)


@handles
async def order_revised(event: OrderRevised, uow: OrderHistoryUnitOfWork) -> None:
    order = await _order_became(OrderStatus.APPROVED, event.order_id, uow)
    order.revise(Revision(version=_version(), quantities=event.revised_quantities, order_total=event.new_order_total))
    order.index_words()


@handles
async def delivery_scheduled(event: DeliveryScheduled, uow: OrderHistoryUnitOfWork) -> None:
    await _delivery_became(DeliveryStatus.SCHEDULED, event.order_id, uow)


@handles
async def delivery_picked_up(event: DeliveryPickedUp, uow: OrderHistoryUnitOfWork) -> None:
    await _delivery_became(DeliveryStatus.PICKED_UP, event.order_id, uow)


@handles
async def delivery_delivered(event: DeliveryDelivered, uow: OrderHistoryUnitOfWork) -> None:
    await _delivery_became(DeliveryStatus.DELIVERED, event.order_id, uow)


@handles
async def delivery_cancelled(event: DeliveryCancelled, uow: OrderHistoryUnitOfWork) -> None:
    await _delivery_became(DeliveryStatus.CANCELLED, event.order_id, uow)


async def _order_became(status: OrderStatus, order_id: OrderId, uow: OrderHistoryUnitOfWork) -> OrderRecord:
    order = await _heard_of(order_id, uow)
    order.order_became(status, _version())
    return order


async def _delivery_became(status: DeliveryStatus, order_id: OrderId, uow: OrderHistoryUnitOfWork) -> None:
    order = await _heard_of(order_id, uow)
    order.delivery_became(status, _version())


async def _heard_of(order_id: OrderId, uow: OrderHistoryUnitOfWork) -> OrderRecord:
    order = await uow.orders.find(order_id) or await uow.orders.add(OrderRecord(id=order_id, updated_at=_time()))
    order.updated_at = max(order.updated_at, _time())
    return order


def _version() -> int:
    version = current_cause().sequence
    if version is None:
        raise ValueError("an event without the version of what it happened to can't be put in order")
    return version


def _time() -> datetime:
    time = current_cause().occurred_at
    if time is None:
        raise ValueError("an event without its time can't be put in order")
    return time
