"""Restaurants and their menus."""

from typing import Any

from pytest_bdd import given, then, when

from features.steps.language import Table, address, menu, rows, step
from features.steps.outcomes import same
from features.world import World

_PLACE = "place of the next restaurant"
_ADDRESS = {"street1": "1 Main Street", "street2": None, "city": "Oakland", "state": "CA", "zip": "94611"}


@given(step('the restaurant "{restaurant:Name}" with the menu:'))
def has_opened(world: World, restaurant: str, datatable: Table) -> None:
    opens(world, restaurant, datatable)
    _wait_until_known(world, world.restaurants[restaurant])


@given(step('the restaurant "{restaurant:Name}", which does not exist'))
def does_not_exist(world: World, restaurant: str) -> None:
    world.restaurants.stranger(restaurant)


@given("the next restaurant is to be at:")
def is_to_be_at(world: World, datatable: Table) -> None:
    (row,) = rows(datatable)
    world.notes[_PLACE] = address(row)


@when(step('the restaurant "{restaurant:Name}" opens with the menu:'))
def opens(world: World, restaurant: str, datatable: Table) -> None:
    _open(world, restaurant, menu(datatable))


@when(step('the restaurant "{restaurant:Name}" opens without any dishes'))
def opens_without_dishes(world: World, restaurant: str) -> None:
    _open(world, restaurant, [])


@when("a restaurant opens without a name")
def opens_without_a_name(world: World) -> None:
    _open(world, "", [])


@when(step('the restaurant "{restaurant:Name}" opens without a street'))
def opens_without_a_street(world: World, restaurant: str) -> None:
    world.notes[_PLACE] = {**_ADDRESS, "street1": ""}
    _open(world, restaurant, [])


@given(step('"{restaurant:Name}" has changed its menu to:'))
@when(step('"{restaurant:Name}" changes its menu to:'))
def changes_menu(world: World, restaurant: str, datatable: Table) -> None:
    path = f"/restaurants/{world.restaurants[restaurant]}/menu"
    if world.act("restaurant", "PUT", path, {"menu_items": menu(datatable)}) is not None:
        # The services that keep a copy get restaurant events in their order: when they know a restaurant that
        # opened after the change, they have the change.
        _wait_until_known(world, _open(world, "one that opened after the change", []))


@when(step('the restaurant "{restaurant:Name}" is looked up'))
def looked_up(world: World, restaurant: str) -> None:
    world.look_up("restaurant", f"/restaurants/{world.restaurants[restaurant]}")


@then(step('the restaurant "{restaurant:Name}" is at:'))
def is_at(world: World, restaurant: str, datatable: Table) -> None:
    (row,) = rows(datatable)
    world.eventually(lambda: same(_view(world, restaurant)["address"], address(row)))


@then(step('the menu of "{restaurant:Name}" is:'))
def menu_is(world: World, restaurant: str, datatable: Table) -> None:
    world.eventually(lambda: same(_view(world, restaurant)["menu"]["menu_items"], menu(datatable)))


@then(step('"{restaurant:Name}" has no dishes'))
def has_no_dishes(world: World, restaurant: str) -> None:
    world.eventually(lambda: same(_view(world, restaurant)["menu"]["menu_items"], []))


@then(step('the {service:Service} service knows "{restaurant:Name}"'))
def is_known(world: World, service: str, restaurant: str) -> None:
    id_ = world.restaurants[restaurant]
    world.eventually(lambda: same(world.get(service, f"/restaurants/{id_}"), {"id": id_}))


def _open(world: World, restaurant: str, menu_items: list[dict[str, object]]) -> str:
    place = world.notes.get(_PLACE, _ADDRESS)
    body = {"name": restaurant, "address": place, "menu": {"menu_items": menu_items}}
    answer = world.act("restaurant", "POST", "/restaurants", body, success=201)
    if answer is None:
        return ""
    id_: str = answer["id"]
    world.restaurants[restaurant] = id_
    return id_


def _wait_until_known(world: World, id_: str) -> None:
    for service in ("order", "kitchen"):
        world.eventually(lambda service=service: world.get(service, f"/restaurants/{id_}"))  # type: ignore[misc]


def _view(world: World, restaurant: str) -> Any:
    return world.get("restaurant", f"/restaurants/{world.restaurants[restaurant]}")
