"""The courier, on its own."""

import pytest

from delivery.domain.courier import Action, ActionKind, Courier
from delivery.tests.world import KITCHEN_DOOR, MINUTE, NOON
from kernel.values import OrderId


def pickup(delivery_id: str) -> Action:
    return Action(delivery_id=OrderId(delivery_id), action=ActionKind.PICKUP, address=KITCHEN_DOOR, when=NOON)


def free_courier() -> Courier:
    courier = Courier(id="c")
    courier.set_available(True, NOON)
    return courier


def test_a_new_courier_is_not_free() -> None:
    assert Courier(id="c").free_since is None


def test_is_free_from_the_moment_of_going_on_duty() -> None:
    assert free_courier().free_since == NOON


def test_going_on_duty_again_does_not_cost_the_place_in_the_line() -> None:
    courier = free_courier()
    courier.set_available(True, NOON + MINUTE)
    assert courier.free_since == NOON


def test_going_off_duty_does() -> None:
    courier = free_courier()
    courier.set_available(False, NOON + MINUTE)
    assert courier.free_since is None
    courier.set_available(True, NOON + 2 * MINUTE)
    assert courier.free_since == NOON + 2 * MINUTE


def test_with_a_plan_is_not_free() -> None:
    courier = free_courier()
    courier.take_on((pickup("a"),))
    assert courier.free_since is None
    courier.set_available(True, NOON + MINUTE)
    assert courier.free_since is None


def test_is_free_again_when_the_plan_is_empty() -> None:
    courier = free_courier()
    courier.take_on((pickup("a"),))
    courier.drop(OrderId("a"), NOON + MINUTE)
    assert (courier.plan, courier.free_since) == ((), NOON + MINUTE)


def test_keeps_the_plan_when_off_duty_and_is_not_free_after_it() -> None:
    courier = free_courier()
    courier.take_on((pickup("a"),))
    courier.set_available(False, NOON)
    assert courier.plan == (pickup("a"),)
    courier.drop(OrderId("a"), NOON)
    assert courier.free_since is None


def test_does_nothing_for_other_deliveries() -> None:
    courier = free_courier()
    courier.take_on((pickup("a"),))
    assert courier.actions_for(OrderId("b")) == ()
    courier.drop(OrderId("b"), NOON)
    assert courier.actions_for(OrderId("a")) == (pickup("a"),)


def test_takes_one_delivery_at_a_time() -> None:
    courier = free_courier()
    courier.take_on((pickup("a"),))
    with pytest.raises(ValueError, match="not free"):
        courier.take_on((pickup("b"),))
