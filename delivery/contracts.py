"""What other services may know of deliveries. A delivery's id is its order's."""

from datetime import datetime

from kernel.values import CourierId, OrderId
from shared.core.messages import Event


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
