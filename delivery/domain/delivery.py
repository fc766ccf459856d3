"""The delivery: how an order gets from its restaurant to its consumer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from delivery.contracts import DeliveryCancelled, DeliveryDelivered, DeliveryPickedUp, DeliveryScheduled
from delivery.domain.courier import Action, ActionKind, Courier
from delivery.domain.errors import DeliveryAlreadyExists, DeliveryStateDoesNotAllowAction
from kernel.values import ERASED_ADDRESS, Address, CourierId, OrderId
from shared.eventsourcing.aggregate import RecordingEntity

RIDE = timedelta(minutes=30)
"""What a courier is given from the restaurant's door to the consumer's."""


class DeliveryStatus(StrEnum):
    """Where a delivery is in its life."""

    NEW = "NEW"
    """Something has happened to an order that we have not been told of yet."""
    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    PICKED_UP = "PICKED_UP"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"


_ENDED = (DeliveryStatus.DELIVERED, DeliveryStatus.CANCELLED)
_AT_THE_RESTAURANT = (DeliveryStatus.NEW, DeliveryStatus.PENDING, DeliveryStatus.SCHEDULED)


@dataclass(kw_only=True)
class Delivery(RecordingEntity):
    """A delivery; its id is its order's.

    It is told what happened to the order and its ticket, in whatever order the news arrives: what comes before the
    order itself is kept until `create`. News can't be refused, so what no longer matters changes nothing.
    """

    status: DeliveryStatus = DeliveryStatus.NEW
    pickup_address: Address | None = None
    delivery_address: Address | None = None
    accepted_at: datetime | None = None
    ready_by: datetime | None = None
    courier_id: CourierId | None = None
    forgets_address: bool = False

    @property
    def order_id(self) -> OrderId:
        """The order that is delivered. The delivery has the same id."""
        return OrderId(self.id)

    @property
    def created(self) -> bool:
        """Whether the order itself has arrived. Before that the delivery is not shown to anybody."""
        return self.pickup_address is not None

    @property
    def waits_for_courier(self) -> bool:
        """Whether the restaurant has accepted the ticket, and no courier has been found yet."""
        return self.status is DeliveryStatus.PENDING and self.accepted_at is not None

    def create(self, pickup_address: Address, delivery_address: Address) -> None:
        """Records the order. If it was cancelled or picked up before this news came, it stays so."""
        if self.created:
            raise DeliveryAlreadyExists
        self.pickup_address, self.delivery_address = pickup_address, delivery_address
        if self.status is DeliveryStatus.NEW:
            self.status = DeliveryStatus.PENDING
        self._forget_address()

    def accept(self, accepted_at: datetime, ready_by: datetime) -> None:
        """The restaurant has accepted the ticket: a courier is needed by the time the dishes are ready."""
        if self.status in (DeliveryStatus.NEW, DeliveryStatus.PENDING) and self.accepted_at is None:
            self.accepted_at, self.ready_by = accepted_at, ready_by

    def schedule(self, courier: Courier) -> None:
        """Assigns a free courier to the delivery."""
        pickup_address, delivery_address, ready_by = self.pickup_address, self.delivery_address, self.ready_by
        if not self.waits_for_courier or pickup_address is None or delivery_address is None or ready_by is None:
            raise DeliveryStateDoesNotAllowAction
        pickup = Action(delivery_id=self.order_id, action=ActionKind.PICKUP, address=pickup_address, when=ready_by)
        dropoff = Action(
            delivery_id=self.order_id,
            action=ActionKind.DROPOFF,
            address=delivery_address,
            when=_after_the_ride(ready_by),
        )
        courier.take_on((pickup, dropoff))
        self.status, self.courier_id = DeliveryStatus.SCHEDULED, courier.courier_id
        self.record(DeliveryScheduled(order_id=self.order_id, courier_id=courier.courier_id, ready_by=ready_by))

    def pick_up(self) -> None:
        """The order has left the restaurant, with the courier or, if none was found in time, without one of ours."""
        if self.status in _AT_THE_RESTAURANT:
            self.status = DeliveryStatus.PICKED_UP
            self.record(DeliveryPickedUp(order_id=self.order_id, courier_id=self.courier_id))

    def deliver(self) -> CourierId | None:
        """The order has reached the consumer. Returns the courier who brought it."""
        if self.status is not DeliveryStatus.PICKED_UP:
            raise DeliveryStateDoesNotAllowAction
        self.status = DeliveryStatus.DELIVERED
        self.record(DeliveryDelivered(order_id=self.order_id, courier_id=self.courier_id))
        self._forget_address()
        return self.courier_id

    def cancel(self) -> CourierId | None:
        """Cancels the delivery unless the order has left the restaurant. Returns the courier, if one was assigned."""
        if self.status not in _AT_THE_RESTAURANT:
            return None
        courier_id, self.courier_id = self.courier_id, None
        self.status = DeliveryStatus.CANCELLED
        self.record(DeliveryCancelled(order_id=self.order_id))
        self._forget_address()
        return courier_id

    def erase_address(self) -> None:
        """Erases the consumer's address as soon as no courier has to go there any more."""
        self.forgets_address = True
        self._forget_address()

    def _forget_address(self) -> None:
        if self.forgets_address and self.created and self.status in _ENDED:
            self.delivery_address = ERASED_ADDRESS


def _after_the_ride(ready_by: datetime) -> datetime:
    try:
        return ready_by + RIDE
    except OverflowError:  # a kitchen may promise a time at the very end of the calendar, and news can't be refused
        return ready_by
