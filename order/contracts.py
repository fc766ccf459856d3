"""What other services may know of orders."""

from datetime import datetime

from kernel.values import (
    ERASED_ADDRESS,
    Address,
    ConsumerId,
    LineItem,
    MenuItemId,
    Money,
    OrderId,
    RestaurantId,
    TicketId,
)
from shared.core.messages import Event


class OrderCreated(Event, key="order_id", personal={"deliver_to": ERASED_ADDRESS}):
    order_id: OrderId
    consumer_id: ConsumerId
    restaurant_id: RestaurantId
    restaurant_name: str
    line_items: tuple[LineItem, ...]
    order_total: Money
    deliver_at: datetime
    deliver_to: Address


class OrderApproved(Event, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId


class OrderRejected(Event, key="order_id"):
    order_id: OrderId
    reason: str


class OrderCancelling(Event, key="order_id"):
    order_id: OrderId


class OrderCancellingUndone(Event, key="order_id"):
    order_id: OrderId
    reason: str


class OrderCancelled(Event, key="order_id"):
    order_id: OrderId


class OrderProposedRevision(Event, key="order_id"):
    order_id: OrderId
    current_order_total: Money
    new_order_total: Money
    revisions: dict[MenuItemId, int]


class OrderRevisingUndone(Event, key="order_id"):
    order_id: OrderId
    reason: str


class OrderRevised(Event, key="order_id"):
    order_id: OrderId
    current_order_total: Money
    new_order_total: Money
    revised_quantities: dict[MenuItemId, int]


class DeliveryAddressErased(Event, key="order_id", erases=True):
    order_id: OrderId
    consumer_id: ConsumerId
