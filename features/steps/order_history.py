"""The order history: what consumers see of their orders."""

from collections.abc import Callable, Sequence
from typing import Any

from pytest_bdd import given, then, when

from features.steps.language import (
    DELIVERY_STATES,
    ORDER_STATES,
    Table,
    dollars,
    items_table,
    names,
    step,
)
from features.steps.outcomes import same
from features.world import World

_PAGE = "the page of the history that is open"
_NEXT = "where the next page begins"
_ORDER_WORDS = {state: words for words, state in ORDER_STATES.items()}
_DELIVERY_WORDS = {state: words for words, state in DELIVERY_STATES.items()}


@given(step('the history of "{consumer:Name}" has all {number:d} orders'))
def has_all(world: World, consumer: str, number: int) -> None:
    world.eventually(lambda: same(len(_find(world, consumer)), number))


@given(step('"{consumer:Name}" has opened their history, {number:d} orders to a page'))
@when(step('"{consumer:Name}" opens their history, {number:d} orders to a page'))
def opens(world: World, consumer: str, number: int) -> None:
    _turn(world, {"consumerID": world.consumers[consumer], "limit": number})


@given("the history has lost all its orders")
def has_lost_all(world: World) -> None:
    world.history_is_lost()


@given("the history has been built anew")
@when("the history is built anew")
def is_built_anew(world: World) -> None:
    world.history_is_rebuilt()


@when("the next page is opened")
def turns(world: World) -> None:
    _turn(world, {**world.notes[_NEXT]})


@when(step('"{consumer:Name}" looks for orders in a state that does not exist'))
def looks_for_nonsense(world: World, consumer: str) -> None:
    world.look_up("order_history", f"/orders?consumerID={world.consumers[consumer]}&filter[status]=Eaten")


@when(step("{order:Order} is looked up in the history"))
def looked_up(world: World, order: str) -> None:
    world.look_up("order_history", f"/orders/{world.orders[order]}")


@then("the page shows:")
def page_shows(world: World, datatable: Table) -> None:
    world.require_no_refusal()
    assert [world.orders.of(order["order_id"]) for order in world.notes[_PAGE]["orders"]] == names(datatable)


@then("it is the last page")
def is_the_last(world: World) -> None:
    assert world.notes[_PAGE]["next"] == ""


@then(step('the history of "{consumer:Name}" shows:'))
def shows(world: World, consumer: str, datatable: Table) -> None:
    world.eventually(lambda: same(_table(world, _find(world, consumer), datatable[0]), datatable))


@then(step('the history of "{consumer:Name}" is empty'))
def is_empty(world: World, consumer: str) -> None:
    world.eventually(lambda: same(_find(world, consumer), []))


@then(step('the history of "{consumer:Name}" shows that these are {state:OrderState}:'))
def shows_in_state(world: World, consumer: str, state: str, datatable: Table) -> None:
    _shows_only(world, consumer, datatable, {"filter[status]": state})


@then(step('the history of "{consumer:Name}" shows that none are {state:OrderState}'))
def shows_none_in_state(world: World, consumer: str, state: str) -> None:
    world.eventually(lambda: same(_find(world, consumer, {"filter[status]": state}), []))


@then(step('looking for "{words:Name}" in the history of "{consumer:Name}" finds:'))
def finds(world: World, words: str, consumer: str, datatable: Table) -> None:
    _shows_only(world, consumer, datatable, {"filter[keywords]": words.split()})


@then(step('looking for "{words:Name}" in the history of "{consumer:Name}" finds nothing'))
def finds_nothing(world: World, words: str, consumer: str) -> None:
    world.eventually(lambda: same(_find(world, consumer, {"filter[keywords]": words.split()}), []))


@then(step('the history of "{consumer:Name}" since {order:Order} shows:'))
def shows_since(world: World, consumer: str, order: str, datatable: Table) -> None:
    since = world.eventually(lambda: _view(world, order))["created_at"]
    _shows_only(world, consumer, datatable, {"filter[since]": since})


@then(step("the history shows {order:Order} as {state:OrderState}"))
def shows_as(world: World, order: str, state: str) -> None:
    world.eventually(lambda: same(_view(world, order)["status"], state))


@then(step("the history shows the delivery of {order:Order} as {state:DeliveryState}"))
def shows_delivery_as(world: World, order: str, state: str) -> None:
    world.eventually(lambda: same(_view(world, order)["delivery_status"], state))


@then(step("the history shows that {order:Order} costs {amount:Money}"))
def shows_total(world: World, order: str, amount: int) -> None:
    world.eventually(lambda: same(dollars(_view(world, order)["order_total"]), dollars(amount)))


@then(step("the history shows that {order:Order} contains:"))
def shows_items(world: World, order: str, datatable: Table) -> None:
    world.eventually(lambda: same(items_table(_view(world, order)["line_items"], datatable[0]), datatable))


def _turn(world: World, parameters: dict[str, Any]) -> None:
    page = world.look_up("order_history", "/orders", parameters)
    if page is not None:
        world.notes[_PAGE], world.notes[_NEXT] = page, {**parameters, "next": page["next"]}


def _shows_only(world: World, consumer: str, datatable: Table, criteria: dict[str, Any]) -> None:
    def found() -> list[str]:
        return [world.orders.of(order["order_id"]) for order in _find(world, consumer, criteria)]

    world.eventually(lambda: same(found(), names(datatable)))


def _find(world: World, consumer: str, criteria: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    parameters = {"consumerID": world.consumers[consumer], **(criteria or {})}
    orders: list[dict[str, Any]] = world.get("order_history", "/orders", parameters)["orders"]
    return orders


def _table(world: World, orders: Sequence[dict[str, Any]], headings: Sequence[str]) -> Table:
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "order": lambda order: world.orders.of(order["order_id"]),
        "restaurant": lambda order: order["restaurant_name"],
        "state": lambda order: _ORDER_WORDS[order["status"]],
        "total": lambda order: dollars(order["order_total"]),
        "delivery": lambda order: _DELIVERY_WORDS[order["delivery_status"]],
    }
    return [list(headings), *([columns[heading](order) for heading in headings] for order in orders)]


def _view(world: World, order: str) -> Any:
    return world.get("order_history", f"/orders/{world.orders[order]}")
