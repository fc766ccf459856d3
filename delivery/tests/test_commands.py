"""What couriers ask of the delivery service, on a memory database."""

import pytest

from delivery.application.commands import DeliverOrder
from delivery.contracts import DeliveryDelivered, DeliveryScheduled
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.errors import DeliveryNotFound, DeliveryStateDoesNotAllowAction
from delivery.tests.world import (
    READY_BY,
    in_memory,
    new_courier,
    new_order,
    off_duty,
    on_duty,
    order_created,
    order_rejected,
    ticket_accepted,
    ticket_picked_up,
    with_restaurant,
)


async def test_a_courier_is_made_known_by_going_on_or_off_duty() -> None:
    world = in_memory()
    early, late = new_courier(), new_courier()
    await world.handle(on_duty(early))
    await world.handle(off_duty(late))
    assert (await world.courier(early)).available
    assert not (await world.courier(late)).available


async def test_a_courier_who_goes_on_duty_takes_the_delivery_that_has_waited_longest() -> None:
    world = await with_restaurant()
    second, first = new_order(), new_order()
    courier = new_courier()
    await world.handle(order_created(first), order_created(second))
    await world.handle(ticket_accepted(second, accepted_at=READY_BY), ticket_accepted(first))
    await world.handle(on_duty(courier))
    assert await world.couriers_of(first, second) == [courier, None]
    assert world.published == [DeliveryScheduled(order_id=first, courier_id=courier, ready_by=READY_BY)]


async def test_a_courier_who_is_free_takes_no_delivery_that_the_restaurant_has_not_accepted() -> None:
    world = await with_restaurant()
    order, courier = new_order(), new_courier()
    await world.handle(order_created(order), on_duty(courier))
    assert await world.couriers_of(order) == [None]


async def test_couriers_who_go_on_duty_together_take_a_delivery_each() -> None:
    world = await with_restaurant()
    orders = [new_order() for _ in range(3)]
    couriers = [new_courier() for _ in range(2)]
    await world.handle(*(order_created(order) for order in orders))
    await world.handle(*(ticket_accepted(order) for order in orders))
    await world.handle(*(on_duty(courier) for courier in couriers))
    assert await world.couriers_of(*orders) == [*couriers, None]


async def test_a_courier_who_goes_off_duty_keeps_the_plan_and_takes_nothing_after_it() -> None:
    world = await with_restaurant()
    first, second, courier = new_order(), new_order(), new_courier()
    await world.handle(on_duty(courier), order_created(first), ticket_accepted(first))
    await world.handle(off_duty(courier), order_created(second), ticket_accepted(second))
    assert len((await world.courier(courier)).plan) == 2
    await world.handle(ticket_picked_up(first))
    await world.handle(DeliverOrder(order_id=first))
    assert (await world.courier(courier)).plan == ()
    assert await world.couriers_of(second) == [None]
    await world.handle(on_duty(courier))
    assert await world.couriers_of(second) == [courier]


async def test_a_delivered_order_empties_the_plan_and_the_courier_takes_the_next() -> None:
    world = await with_restaurant()
    first, second, courier = new_order(), new_order(), new_courier()
    await world.handle(on_duty(courier))
    await world.handle(order_created(first), ticket_accepted(first), order_created(second), ticket_accepted(second))
    await world.handle(ticket_picked_up(first))
    await world.handle(DeliverOrder(order_id=first))
    assert (await world.delivery(first)).status is DeliveryStatus.DELIVERED
    assert DeliveryDelivered(order_id=first, courier_id=courier) in world.published
    assert await world.couriers_of(first, second) == [courier, courier]
    assert {action.delivery_id for action in (await world.courier(courier)).plan} == {second}


async def test_an_order_that_nobody_of_ours_picked_up_is_delivered_all_the_same() -> None:
    world = await with_restaurant()
    order = new_order()
    await world.handle(order_created(order), ticket_accepted(order), ticket_picked_up(order))
    await world.handle(DeliverOrder(order_id=order))
    assert (await world.delivery(order)).status is DeliveryStatus.DELIVERED


async def test_only_what_was_picked_up_is_delivered() -> None:
    world = await with_restaurant()
    order, courier = new_order(), new_courier()
    await world.handle(on_duty(courier), order_created(order), ticket_accepted(order))
    with pytest.raises(DeliveryStateDoesNotAllowAction):
        await world.handle(DeliverOrder(order_id=order))
    await world.handle(ticket_picked_up(order))
    await world.handle(DeliverOrder(order_id=order))
    with pytest.raises(DeliveryStateDoesNotAllowAction):
        await world.handle(DeliverOrder(order_id=order))


async def test_a_delivery_whose_order_has_not_arrived_is_not_known() -> None:
    world = await with_restaurant()
    unheard, rejected = new_order(), new_order()
    await world.handle(order_rejected(rejected))
    for order in (unheard, rejected):
        with pytest.raises(DeliveryNotFound):
            await world.handle(DeliverOrder(order_id=order))
