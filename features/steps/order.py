"""Orders: placing, cancelling and revising them."""

from typing import Any
from uuid import uuid4

from pytest_bdd import given, then, when

from features.steps.language import (
    THE_ORDER,
    Table,
    address,
    dollars,
    items_table,
    menu_item_id,
    quantities,
    rows,
    step,
)
from features.steps.outcomes import same
from features.world import World

_REQUEST = "the request that may be sent again"
_ANSWER = "the answer to the last request"
_PLACE = "where orders are to be delivered"
_ADDRESS = {"street1": "9 Amazing View", "street2": None, "city": "Oakland", "state": "CA", "zip": "94612"}


@given("orders are to be delivered to:")
def are_to_be_delivered_to(world: World, datatable: Table) -> None:
    (row,) = rows(datatable)
    world.notes[_PLACE] = address(row)


@given(step('"{consumer:Name}" has ordered at "{restaurant:Name}":'))
def has_ordered(world: World, consumer: str, restaurant: str, datatable: Table) -> None:
    has_ordered_named(world, consumer, THE_ORDER, restaurant, datatable)


@given(step('"{consumer:Name}" has ordered "{order:Name}" at "{restaurant:Name}":'))
def has_ordered_named(world: World, consumer: str, order: str, restaurant: str, datatable: Table) -> None:
    _place(world, consumer, order, restaurant, quantities(datatable))
    is_in_state(world, order, "Approved")


@given(step('the order "{order:Name}", which does not exist'))
def does_not_exist(world: World, order: str) -> None:
    world.orders.stranger(order)


@given(step('"{consumer:Name}" has just ordered at "{restaurant:Name}":'))
@when(step('"{consumer:Name}" orders at "{restaurant:Name}":'))
def orders(world: World, consumer: str, restaurant: str, datatable: Table) -> None:
    _place(world, consumer, THE_ORDER, restaurant, quantities(datatable))


@given(step('"{consumer:Name}" has just ordered "{order:Name}" at "{restaurant:Name}":'))
@when(step('"{consumer:Name}" orders "{order:Name}" at "{restaurant:Name}":'))
def orders_named(world: World, consumer: str, order: str, restaurant: str, datatable: Table) -> None:
    _place(world, consumer, order, restaurant, quantities(datatable))


@when(step('"{consumer:Name}" orders nothing at "{restaurant:Name}"'))
def orders_nothing(world: World, consumer: str, restaurant: str) -> None:
    _place(world, consumer, THE_ORDER, restaurant, {})


@when(step('"{consumer:Name}" orders {quantity:d} of "{dish:Name}" at "{restaurant:Name}"'))
def orders_of(world: World, consumer: str, quantity: int, dish: str, restaurant: str) -> None:
    _place(world, consumer, THE_ORDER, restaurant, {menu_item_id(dish): quantity})


@when(step('"{consumer:Name}" orders at "{restaurant:Name}" for delivery {minutes:d} minutes ago:'))
def orders_for_the_past(world: World, consumer: str, restaurant: str, minutes: int, datatable: Table) -> None:
    _place(world, consumer, THE_ORDER, restaurant, quantities(datatable), minutes=-minutes)


@when(step('"{consumer:Name}" orders at "{restaurant:Name}" with the key "{key:Name}":'))
def orders_with_key(world: World, consumer: str, restaurant: str, key: str, datatable: Table) -> None:
    _place(world, consumer, THE_ORDER, restaurant, quantities(datatable), key=key)


@given(step('"{consumer:Name}" has ordered at "{restaurant:Name}" with the key "{key:Name}":'))
def has_ordered_with_key(world: World, consumer: str, restaurant: str, key: str, datatable: Table) -> None:
    orders_with_key(world, consumer, restaurant, key, datatable)
    is_in_state(world, THE_ORDER, "Approved")


@given(step('"{consumer:Name}" has cancelled {order:Order}'))
def has_cancelled(world: World, consumer: str, order: str) -> None:
    cancels(world, consumer, order)
    is_in_state(world, order, "Cancelled")


@given(step('"{consumer:Name}" has cancelled {order:Order} with the key "{key:Name}"'))
def has_cancelled_with_key(world: World, consumer: str, order: str, key: str) -> None:
    cancels_with_key(world, consumer, order, key)
    is_in_state(world, order, "Cancelled")


@given(step('"{consumer:Name}" has begun to cancel {order:Order}'))
@when(step('"{consumer:Name}" cancels {order:Order}'))
def cancels(world: World, consumer: str, order: str) -> None:
    _send(world, "PUT", f"{_path(world, order)}/cancel", None, None)


@when(step('"{consumer:Name}" cancels {order:Order} with the key "{key:Name}"'))
def cancels_with_key(world: World, consumer: str, order: str, key: str) -> None:
    _send(world, "PUT", f"{_path(world, order)}/cancel", None, key)


@given(step('"{consumer:Name}" has begun to revise {order:Order} to:'))
@when(step('"{consumer:Name}" revises {order:Order} to:'))
def revises(world: World, consumer: str, order: str, datatable: Table) -> None:
    _revise(world, order, quantities(datatable))


@given(step('"{consumer:Name}" has revised {order:Order} to:'))
def has_revised(world: World, consumer: str, order: str, datatable: Table) -> None:
    _revise(world, order, quantities(datatable))
    is_in_state(world, order, "Approved")


@given(step('"{consumer:Name}" has revised {order:Order} with the key "{key:Name}" to:'))
def has_revised_with_key(world: World, consumer: str, order: str, key: str, datatable: Table) -> None:
    _revise(world, order, quantities(datatable), key)
    is_in_state(world, order, "Approved")


@when(step('"{consumer:Name}" revises {order:Order} with the key "{key:Name}" to:'))
def revises_with_key(world: World, consumer: str, order: str, key: str, datatable: Table) -> None:
    _revise(world, order, quantities(datatable), key)


@when("the same request is sent again")
def sends_again(world: World) -> None:
    world.notes["first answer"] = world.notes[_ANSWER]
    method, path, body, key = world.notes[_REQUEST]
    answer = _send(world, method, path, body, key)
    if method == "POST" and answer is not None:
        world.orders.setdefault(THE_ORDER, answer["id"])


@when(step("{order:Order} is looked up"))
def looked_up(world: World, order: str) -> None:
    world.look_up("order", _path(world, order))


@then("the answer is the same as the first time")
def same_answer(world: World) -> None:
    world.require_no_refusal()
    assert world.notes[_ANSWER] == world.notes["first answer"]


@then(step("the answer is that the order is {state:OrderState}"))
def answer_is(world: World, state: str) -> None:
    world.require_no_refusal()
    assert world.notes[_ANSWER] == {"status": state}


@given(step("{order:Order} is {state:OrderState}"))
@then(step("{order:Order} is {state:OrderState}"))
@then(step("{order:Order} is still {state:OrderState}"))
def is_in_state(world: World, order: str, state: str) -> None:
    world.eventually(lambda: same(_view(world, order)["state"], state))


@then(step('{order:Order} is rejected because "{reason:Name}"'))
def is_rejected(world: World, order: str, reason: str) -> None:
    expected = ("Rejected", reason)
    world.eventually(lambda: same((_view(world, order)["state"], _view(world, order)["rejection"]), expected))


@then(step("{order:Order} costs {amount:Money}"))
def costs(world: World, order: str, amount: int) -> None:
    world.eventually(lambda: same(dollars(_view(world, order)["order_total"]), dollars(amount)))


@then(step("{order:Order} contains:"))
def contains(world: World, order: str, datatable: Table) -> None:
    world.eventually(lambda: same(items_table(_view(world, order)["line_items"], datatable[0]), datatable))


@then(step('{order:Order} is one of "{consumer:Name}" at "{restaurant:Name}"'))
def is_of(world: World, order: str, consumer: str, restaurant: str) -> None:
    view = world.eventually(lambda: _view(world, order))
    assert view["consumer_id"] == world.consumers[consumer]
    assert view["restaurant_id"] == world.restaurants[restaurant]


@then(step("{order:Order} has no ticket"))
def has_no_ticket(world: World, order: str) -> None:
    world.eventually(lambda: same(_view(world, order)["ticket_id"], None))


def _place(
    world: World,
    consumer: str,
    order: str,
    restaurant: str,
    quantities: dict[str, int],
    *,
    minutes: int = 60,
    key: str | None = None,
) -> None:
    body = {
        "consumer_id": world.consumers[consumer],
        "restaurant_id": world.restaurants[restaurant],
        # The API compares it with the real time.
        "delivery_time": world.later(minutes),
        "delivery_address": world.notes.get(_PLACE, _ADDRESS),
        "line_items": quantities,
    }
    answer = _send(world, "POST", "/orders", body, key)
    if answer is not None:
        world.orders[order] = answer["id"]


def _revise(world: World, order: str, quantities: dict[str, int], key: str | None = None) -> None:
    _send(world, "PUT", f"{_path(world, order)}/revise", {"revised_quantities": quantities}, key)


def _send(world: World, method: str, path: str, body: object, key: str | None) -> Any:
    headers = {"Idempotency-Key": world.keys.setdefault(key, str(uuid4()))} if key else None
    answer = world.act("order", method, path, body, success=201 if method == "POST" else 202, headers=headers)
    world.notes[_REQUEST], world.notes[_ANSWER] = (method, path, body, key), answer
    return answer


def _path(world: World, order: str) -> str:
    return f"/orders/{world.orders[order]}"


def _view(world: World, order: str) -> Any:
    return world.get("order", _path(world, order))
