"""The delivery, on its own."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from delivery.contracts import DeliveryCancelled, DeliveryDelivered, DeliveryPickedUp, DeliveryScheduled
from delivery.domain.courier import Action, ActionKind, Courier
from delivery.domain.delivery import RIDE, Delivery, DeliveryStatus
from delivery.domain.errors import DeliveryAlreadyExists, DeliveryStateDoesNotAllowAction
from delivery.tests.world import FRONT_DOOR, KITCHEN_DOOR, MINUTE, NOON, READY_BY
from kernel.values import ERASED_ADDRESS, CourierId, OrderId
from shared.core.messages import Event

ORDER, COURIER = OrderId("o"), CourierId("c")

SCHEDULED = DeliveryScheduled(order_id=ORDER, courier_id=COURIER, ready_by=READY_BY)
CANCELLED = DeliveryCancelled(order_id=ORDER)


def free_courier() -> Courier:
    courier = Courier(id=COURIER)
    courier.set_available(True, NOON)
    return courier


def new() -> Delivery:
    return Delivery(id=ORDER)


def pending() -> Delivery:
    delivery = new()
    delivery.create(KITCHEN_DOOR, FRONT_DOOR)
    return delivery


def accepted() -> Delivery:
    delivery = pending()
    delivery.accept(NOON, READY_BY)
    return delivery


def scheduled() -> Delivery:
    delivery = accepted()
    delivery.schedule(free_courier())
    delivery.take_recorded()
    return delivery


def picked_up() -> Delivery:
    delivery = scheduled()
    delivery.pick_up()
    delivery.take_recorded()
    return delivery


def delivered() -> Delivery:
    delivery = picked_up()
    delivery.deliver()
    delivery.take_recorded()
    return delivery


def cancelled() -> Delivery:
    delivery = pending()
    delivery.cancel()
    delivery.take_recorded()
    return delivery


def outcome(delivery: Delivery) -> tuple[DeliveryStatus, CourierId | None, list[Event]]:
    return delivery.status, delivery.courier_id, delivery.take_recorded()


def test_is_pending_when_its_order_was_placed() -> None:
    delivery = pending()
    assert (delivery.pickup_address, delivery.delivery_address) == (KITCHEN_DOOR, FRONT_DOOR)
    assert outcome(delivery) == (DeliveryStatus.PENDING, None, [])


@pytest.mark.parametrize("make", [pending, accepted, scheduled, picked_up, delivered, cancelled])
def test_is_created_once(make: Callable[[], Delivery]) -> None:
    with pytest.raises(DeliveryAlreadyExists, match="delivery already exists"):
        make().create(KITCHEN_DOOR, FRONT_DOOR)


def test_waits_for_a_courier_when_the_restaurant_has_accepted() -> None:
    assert not pending().waits_for_courier
    assert accepted().waits_for_courier


def test_waits_for_a_courier_also_when_the_restaurant_accepted_before_we_knew_of_the_order() -> None:
    delivery = new()
    delivery.accept(NOON, READY_BY)
    assert not delivery.waits_for_courier
    delivery.create(KITCHEN_DOOR, FRONT_DOOR)
    assert delivery.waits_for_courier


def test_the_first_acceptance_counts() -> None:
    delivery = accepted()
    delivery.accept(NOON + MINUTE, READY_BY + MINUTE)
    assert (delivery.accepted_at, delivery.ready_by) == (NOON, READY_BY)


def test_is_scheduled_with_a_plan_for_the_courier() -> None:
    delivery, courier = accepted(), free_courier()
    delivery.schedule(courier)
    assert outcome(delivery) == (DeliveryStatus.SCHEDULED, COURIER, [SCHEDULED])
    assert courier.plan == (
        Action(delivery_id=ORDER, action=ActionKind.PICKUP, address=KITCHEN_DOOR, when=READY_BY),
        Action(delivery_id=ORDER, action=ActionKind.DROPOFF, address=FRONT_DOOR, when=READY_BY + RIDE),
    )
    assert RIDE == 30 * MINUTE


def test_is_scheduled_for_the_last_minutes_of_the_calendar() -> None:
    delivery, courier = pending(), free_courier()
    delivery.accept(NOON, datetime.max.replace(tzinfo=UTC))
    delivery.schedule(courier)
    assert [action.when.year for action in courier.plan] == [9999, 9999]


@pytest.mark.parametrize("make", [new, pending, scheduled, picked_up, delivered, cancelled])
def test_is_scheduled_only_while_it_waits(make: Callable[[], Delivery]) -> None:
    courier = free_courier()
    with pytest.raises(DeliveryStateDoesNotAllowAction, match="delivery state does not allow action"):
        make().schedule(courier)
    assert courier.plan == ()


def test_is_picked_up_by_its_courier() -> None:
    delivery = scheduled()
    delivery.pick_up()
    event = DeliveryPickedUp(order_id=ORDER, courier_id=COURIER)
    assert outcome(delivery) == (DeliveryStatus.PICKED_UP, COURIER, [event])


@pytest.mark.parametrize("make", [new, pending, accepted])
def test_is_picked_up_without_a_courier_when_none_was_found(make: Callable[[], Delivery]) -> None:
    delivery = make()
    delivery.pick_up()
    assert not delivery.waits_for_courier
    assert outcome(delivery) == (
        DeliveryStatus.PICKED_UP,
        None,
        [DeliveryPickedUp(order_id=ORDER, courier_id=None)],
    )


def test_is_delivered() -> None:
    delivery = picked_up()
    assert delivery.deliver() == COURIER
    event = DeliveryDelivered(order_id=ORDER, courier_id=COURIER)
    assert outcome(delivery) == (DeliveryStatus.DELIVERED, COURIER, [event])


def test_is_delivered_without_a_courier() -> None:
    delivery = pending()
    delivery.pick_up()
    assert delivery.deliver() is None
    assert delivery.take_recorded()[-1] == DeliveryDelivered(order_id=ORDER, courier_id=None)


@pytest.mark.parametrize("make", [new, pending, accepted, scheduled, delivered, cancelled])
def test_is_delivered_only_when_picked_up(make: Callable[[], Delivery]) -> None:
    with pytest.raises(DeliveryStateDoesNotAllowAction, match="delivery state does not allow action"):
        make().deliver()


@pytest.mark.parametrize("make", [new, pending, accepted])
def test_is_cancelled_before_a_courier_was_found(make: Callable[[], Delivery]) -> None:
    delivery = make()
    assert delivery.cancel() is None
    assert not delivery.waits_for_courier
    assert outcome(delivery) == (DeliveryStatus.CANCELLED, None, [CANCELLED])


def test_is_cancelled_with_a_courier_who_need_not_come() -> None:
    delivery = scheduled()
    assert delivery.cancel() == COURIER
    assert outcome(delivery) == (DeliveryStatus.CANCELLED, None, [CANCELLED])


def test_cancelled_before_we_knew_of_the_order_it_stays_cancelled() -> None:
    delivery = new()
    delivery.cancel()
    delivery.take_recorded()
    delivery.create(KITCHEN_DOOR, FRONT_DOOR)
    assert delivery.pickup_address == KITCHEN_DOOR
    assert outcome(delivery) == (DeliveryStatus.CANCELLED, None, [])


@pytest.mark.parametrize("make", [picked_up, delivered, cancelled])
def test_late_news_changes_nothing(make: Callable[[], Delivery]) -> None:
    delivery, untouched = make(), make()
    assert delivery.cancel() is None
    delivery.accept(NOON + MINUTE, READY_BY + MINUTE)
    delivery.pick_up()
    assert delivery == untouched
    assert delivery.take_recorded() == []


@pytest.mark.parametrize(
    "end", [Delivery.cancel, lambda delivery: (delivery.pick_up(), delivery.deliver())], ids=["cancelled", "delivered"]
)
def test_an_address_is_forgotten_when_nobody_has_to_go_there(end: Callable[[Delivery], object]) -> None:
    delivery = scheduled()
    delivery.erase_address()
    assert delivery.delivery_address == FRONT_DOOR
    end(delivery)
    assert (delivery.pickup_address, delivery.delivery_address) == (KITCHEN_DOOR, ERASED_ADDRESS)


def test_the_address_of_an_earlier_delivery_is_forgotten_at_once() -> None:
    delivery = delivered()
    delivery.erase_address()
    assert delivery.delivery_address == ERASED_ADDRESS


def test_an_address_that_comes_when_all_is_over_is_not_kept() -> None:
    delivery = new()
    delivery.cancel()
    delivery.erase_address()
    assert delivery.delivery_address is None
    delivery.create(KITCHEN_DOOR, FRONT_DOOR)
    assert delivery.delivery_address == ERASED_ADDRESS
