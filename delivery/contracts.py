"""What other services may know of deliveries. A delivery's id is its order's."""

from datetime import datetime

from shared.core.messages import Event
from shared.core.values import CourierId, OrderId


class DeliveryScheduled(Event, key="order_id"):
    order_id: OrderId
    courier_id: CourierId
    ready_by: datetime


class DeliveryPickedUp(Event, key="order_id"):
    order_id: OrderId
    courier_id: CourierId | None


class DeliveryDelivered(Event, key="order_id"):
    order_id: OrderId
    courier_id: CourierId | None


class DeliveryCancelled(Event, key="order_id"):
    order_id: OrderId
