"""What happens to an order, as messages that arrive."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from delivery.contracts import DeliveryPickedUp, DeliveryScheduled
from kernel.values import Address, ConsumerId, CourierId, LineItem, MenuItemId, Money, OrderId, RestaurantId, TicketId
from order.contracts import (
    OrderApproved,
    OrderCancelled,
    OrderCancelling,
    OrderCancellingUndone,
    OrderCreated,
    OrderProposedRevision,
    OrderRevised,
    OrderRevisingUndone,
)
from shared.core.ids import new_id
from shared.core.messages import Event
from shared.core.serialization import to_json
from shared.messaging.broker import Publication, subject_of
from shared.messaging.envelope import Envelope, Received

ORDER = OrderId("0197f3a0-0000-7000-8000-000000000001")
CONSUMER = ConsumerId("0197f3a0-0000-7000-8000-00000000000c")
RESTAURANT = RestaurantId("0197f3a0-0000-7000-8000-00000000000a")
TICKET = TicketId("0197f3a0-0000-7000-8000-00000000000e")
COURIER = CourierId("0197f3a0-0000-7000-8000-00000000000d")
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

PIZZA = LineItem(menu_item_id=MenuItemId("pizza"), name="Pizza Margherita", price=Money(1250), quantity=2)
SALAD = LineItem(menu_item_id=MenuItemId("salad"), name="Caesar salad", price=Money(800), quantity=1)


@dataclass(frozen=True)
class Happened:
    """An event with the version that it gave its aggregate, and when it happened."""

    event: Event
    version: int | None
    at: datetime = NOON

    def envelope(self) -> Envelope:
        """As it is sent; each time another message."""
        order_id: str = getattr(self.event, "order_id")  # noqa: B009 - not every event has one, but these do
        return Envelope(
            id=new_id(),
            type=self.event.type_name,
            kind="event",
            source=self.event.type_name.partition(".")[0],
            key=self.event.key,
            data=to_json(self.event),
            time=self.at,
            correlation_id="c",
            causation_id="c",
            subject=order_id,
            sequence=self.version,
        )

    def publication(self) -> Publication:
        """As a relay publishes it."""
        envelope = self.envelope()
        return Publication(
            row_id=envelope.id,
            subject=subject_of(0, envelope.route),
            headers=envelope.to_headers(),
            data=envelope.data,
        )

    def received(self) -> Received:
        """As a subscription gets it."""
        envelope = self.envelope()
        return Received(
            position=1, row_id=envelope.id, received_at=self.at, headers=envelope.to_headers(), data=envelope.data
        )


def created(
    order_id: str = ORDER,
    *,
    consumer_id: str = CONSUMER,
    restaurant_name: str = "Luigi's Trattoria",
    line_items: Sequence[LineItem] = (PIZZA, SALAD),
    at: datetime = NOON,
) -> Happened:
    """An order was created."""
    event = OrderCreated(
        order_id=OrderId(order_id),
        consumer_id=ConsumerId(consumer_id),
        restaurant_id=RESTAURANT,
        restaurant_name=restaurant_name,
        line_items=tuple(line_items),
        order_total=Money(sum(item.price * item.quantity for item in line_items)),
        deliver_at=at + 60 * MINUTE,
        deliver_to=Address(street1="1 Main Street", city="Oakland", state="CA", zip="94611"),
    )
    return Happened(event, 1, at)


def approved(order_id: str = ORDER, version: int = 2, at: datetime = NOON) -> Happened:
    """An order was approved."""
    return Happened(OrderApproved(order_id=OrderId(order_id), ticket_id=TICKET), version, at)


def revised(quantities: dict[str, int], total: int, version: int, order_id: str = ORDER) -> Happened:
    """Other quantities were confirmed."""
    event = OrderRevised(
        order_id=OrderId(order_id),
        current_order_total=Money(0),
        new_order_total=Money(total),
        revised_quantities={MenuItemId(item): quantity for item, quantity in quantities.items()},
    )
    return Happened(event, version)


def proposed(version: int) -> Happened:
    """Other quantities were asked for."""
    event = OrderProposedRevision(
        order_id=ORDER, current_order_total=Money(0), new_order_total=Money(99), revisions={MenuItemId("pizza"): 9}
    )
    return Happened(event, version)


def _story() -> tuple[Happened, ...]:
    of_the_order: list[Any] = [
        created(),
        approved(),
        proposed(3),
        revised({"pizza": 3}, 4550, 4),
        proposed(5),
        Happened(OrderRevisingUndone(order_id=ORDER, reason="too late"), 6),
        proposed(7),
        revised({"pizza": 1, "salad": 0}, 1250, 8),
        Happened(OrderCancelling(order_id=ORDER), 9),
        Happened(OrderCancellingUndone(order_id=ORDER, reason="too late"), 10),
        Happened(OrderCancelling(order_id=ORDER), 11),
        Happened(OrderCancelled(order_id=ORDER), 12),
    ]
    of_the_delivery = [
        Happened(DeliveryScheduled(order_id=ORDER, courier_id=COURIER, ready_by=NOON), 1),
        Happened(DeliveryPickedUp(order_id=ORDER, courier_id=COURIER), 2),
    ]
    told = [*of_the_order, *of_the_delivery]
    return tuple(Happened(it.event, it.version, NOON + number * MINUTE) for number, it in enumerate(told))


STORY = _story()
"""A long life: revised twice, once in vain, and cancelled at the second try, with its delivery."""
