"""What the delivery service does when something has happened, on a memory database."""

from collections.abc import Callable
from itertools import permutations

import pytest

from delivery.application.commands import DeliverOrder
from delivery.contracts import DeliveryCancelled, DeliveryPickedUp, DeliveryScheduled
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.errors import DeliveryAlreadyExists, RestaurantNotFound
from delivery.tests.world import (
    FRONT_DOOR,
    KITCHEN_DOOR,
    READY_BY,
    in_memory,
    new_courier,
    new_order,
    on_duty,
    order_cancelled,
    order_created,
    order_rejected,
    restaurant_created,
    ticket_accepted,
    ticket_cancelled,
    ticket_picked_up,
    with_restaurant,
)
from kernel.values import OrderId
from shared.core.errors import NotYet
from shared.core.messages import Event

CANCELLATIONS = [ticket_cancelled, order_rejected, order_cancelled]


async def test_an_order_makes_a_delivery_from_the_restaurant_to_the_consumer() -> None:
    world = await with_restaurant()
    order = new_order()
    await world.handle(order_created(order))
    delivery = await world.delivery(order)
    assert delivery.status is DeliveryStatus.PENDING
    assert (delivery.pickup_address, delivery.delivery_address) == (KITCHEN_DOOR, FRONT_DOOR)


async def test_an_order_waits_for_the_copy_of_its_restaurant() -> None:
    world = in_memory()
    order = new_order()
    with pytest.raises(RestaurantNotFound) as refused:
        await world.handle(order_created(order))
    assert isinstance(refused.value, NotYet)
    await world.handle(restaurant_created(), order_created(order))
    assert (await world.delivery(order)).status is DeliveryStatus.PENDING


async def test_an_order_that_is_placed_twice_is_a_fault() -> None:
    world = await with_restaurant()
    order = new_order()
    await world.handle(order_created(order))
    with pytest.raises(DeliveryAlreadyExists):
        await world.handle(order_created(order))


async def test_an_accepted_ticket_is_given_to_the_courier_who_has_been_free_longest() -> None:
    world = await with_restaurant()
    order, later, longest = new_order(), new_courier(), new_courier()
    await world.handle(on_duty(longest))
    await world.handle(on_duty(later))
    await world.handle(order_created(order))
    await world.handle(ticket_accepted(order))
    delivery = await world.delivery(order)
    assert (delivery.status, delivery.courier_id) == (DeliveryStatus.SCHEDULED, longest)
    assert world.published == [DeliveryScheduled(order_id=order, courier_id=longest, ready_by=READY_BY)]
    assert [action.when for action in (await world.courier(longest)).plan] == [READY_BY, READY_BY.replace(minute=50)]


async def test_tickets_that_are_accepted_together_get_a_courier_each() -> None:
    world = await with_restaurant()
    orders = [new_order() for _ in range(3)]
    couriers = [new_courier() for _ in range(2)]
    for courier in couriers:
        await world.handle(on_duty(courier))
    await world.handle(*(order_created(order) for order in orders), *(ticket_accepted(order) for order in orders))
    assert await world.couriers_of(*orders) == [*couriers, None]


async def test_work_goes_round_among_the_couriers() -> None:
    world = await with_restaurant()
    couriers = [new_courier() for _ in range(3)]
    for courier in couriers:
        await world.handle(on_duty(courier))
    served = []
    for _ in range(6):
        order = new_order()
        await world.handle(order_created(order), ticket_accepted(order), ticket_picked_up(order))
        served += await world.couriers_of(order)
        await world.handle(DeliverOrder(order_id=order))
    assert served == couriers * 2


@pytest.mark.parametrize("order_of_arrival", list(permutations(range(3))))
async def test_news_of_an_order_and_its_ticket_may_arrive_in_any_order(order_of_arrival: tuple[int, ...]) -> None:
    world = await with_restaurant()
    order, courier = new_order(), new_courier()
    news = [order_created(order), ticket_accepted(order), on_duty(courier)]
    for index in order_of_arrival:
        await world.handle(news[index])
    delivery = await world.delivery(order)
    assert (delivery.status, delivery.courier_id) == (DeliveryStatus.SCHEDULED, courier)


async def test_a_ticket_that_is_accepted_twice_changes_nothing() -> None:
    world = await with_restaurant()
    order, first, second = new_order(), new_courier(), new_courier()
    await world.handle(on_duty(first), on_duty(second), order_created(order), ticket_accepted(order))
    await world.handle(ticket_accepted(order))
    assert await world.couriers_of(order) == [first]
    assert (await world.courier(second)).plan == ()


async def test_a_dish_is_picked_up_by_its_courier() -> None:
    world = await with_restaurant()
    order, courier = new_order(), new_courier()
    await world.handle(on_duty(courier), order_created(order), ticket_accepted(order))
    await world.handle(ticket_picked_up(order))
    assert world.published[-1] == DeliveryPickedUp(order_id=order, courier_id=courier)
    assert len((await world.courier(courier)).plan) == 2


async def test_a_dish_that_left_without_a_courier_waits_for_none() -> None:
    world = await with_restaurant()
    order, courier = new_order(), new_courier()
    await world.handle(order_created(order), ticket_accepted(order), ticket_picked_up(order))
    await world.handle(on_duty(courier))
    assert (await world.delivery(order)).status is DeliveryStatus.PICKED_UP
    assert (await world.courier(courier)).plan == ()


@pytest.mark.parametrize("cancellation", CANCELLATIONS)
async def test_a_cancellation_frees_the_courier_for_the_delivery_that_waits(
    cancellation: Callable[[OrderId], Event],
) -> None:
    world = await with_restaurant()
    order, waiting, courier = new_order(), new_order(), new_courier()
    await world.handle(on_duty(courier), order_created(order), ticket_accepted(order))
    await world.handle(order_created(waiting), ticket_accepted(waiting))
    await world.handle(cancellation(order))
    assert (await world.delivery(order)).status is DeliveryStatus.CANCELLED
    assert await world.couriers_of(order, waiting) == [None, courier]
    assert {action.delivery_id for action in (await world.courier(courier)).plan} == {waiting}
    assert DeliveryCancelled(order_id=order) in world.published


async def test_couriers_who_are_freed_together_take_the_waiting_deliveries_in_turn() -> None:
    world = await with_restaurant()
    cancelled, waiting = [new_order(), new_order()], [new_order(), new_order(), new_order()]
    couriers = [new_courier(), new_courier()]
    await world.handle(*(on_duty(courier) for courier in couriers))
    for order in (*cancelled, *waiting):
        await world.handle(order_created(order), ticket_accepted(order, accepted_at=world.clock()))
    await world.handle(*(ticket_cancelled(order) for order in cancelled))
    assert await world.couriers_of(*waiting) == [*couriers, None]


@pytest.mark.parametrize("cancellation", CANCELLATIONS)
async def test_a_cancellation_may_come_before_the_order(cancellation: Callable[[OrderId], Event]) -> None:
    world = await with_restaurant()
    order, courier = new_order(), new_courier()
    await world.handle(on_duty(courier), cancellation(order))
    await world.handle(order_created(order), ticket_accepted(order))
    delivery = await world.delivery(order)
    assert (delivery.status, delivery.courier_id) == (DeliveryStatus.CANCELLED, None)
    assert (delivery.pickup_address, delivery.delivery_address) == (KITCHEN_DOOR, FRONT_DOOR)
    assert world.published == [DeliveryCancelled(order_id=order)]


async def test_a_second_cancellation_changes_nothing() -> None:
    world = await with_restaurant()
    order, next_order, courier = new_order(), new_order(), new_courier()
    await world.handle(on_duty(courier), order_created(order), ticket_accepted(order))
    await world.handle(ticket_cancelled(order))
    await world.handle(order_created(next_order), ticket_accepted(next_order))
    await world.handle(order_cancelled(order), order_cancelled(order), ticket_accepted(order))
    assert await world.couriers_of(next_order) == [courier]
    assert len((await world.courier(courier)).plan) == 2
    assert [event for event in world.published if isinstance(event, DeliveryCancelled)] == [
        DeliveryCancelled(order_id=order)
    ]


async def test_what_was_picked_up_is_not_cancelled() -> None:
    world = await with_restaurant()
    order, courier = new_order(), new_courier()
    await world.handle(on_duty(courier), order_created(order), ticket_accepted(order), ticket_picked_up(order))
    await world.handle(order_cancelled(order))
    assert (await world.delivery(order)).status is DeliveryStatus.PICKED_UP
    assert len((await world.courier(courier)).plan) == 2
