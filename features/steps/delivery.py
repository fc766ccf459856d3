"""Couriers and deliveries."""

from datetime import datetime
from typing import Any

from pytest_bdd import given, then, when

from features.steps.language import Table, rows, step
from features.steps.outcomes import same
from features.world import World

_ACTIONS = {"PICKUP": "pick up", "DROPOFF": "drop off"}


@given(step('the courier "{courier:Name}" is on duty'))
@when(step('the courier "{courier:Name}" goes on duty'))
def goes_on_duty(world: World, courier: str) -> None:
    _be_available(world, courier, True)


@given(step('the courier "{courier:Name}" has gone off duty'))
@when(step('the courier "{courier:Name}" goes off duty'))
def goes_off_duty(world: World, courier: str) -> None:
    _be_available(world, courier, False)


@given(step('the courier "{courier:Name}", who never came on duty'))
def never_came(world: World, courier: str) -> None:
    world.couriers.stranger(courier)


@given(step("{order:Order} has been delivered"))
def has_been_delivered(world: World, order: str) -> None:
    delivers(world, order)
    is_in_state(world, order, "DELIVERED")


@when(step("{order:Order} is delivered"))
def delivers(world: World, order: str) -> None:
    world.act("delivery", "POST", f"{_path(world, order)}/delivered", success=202)


@when(step('the courier "{courier:Name}" is looked up'))
def courier_looked_up(world: World, courier: str) -> None:
    world.look_up("delivery", f"/couriers/{world.couriers[courier]}")


@when(step("the delivery of {order:Order} is looked up"))
def looked_up(world: World, order: str) -> None:
    world.look_up("delivery", _path(world, order))


@given(step("the delivery of {order:Order} is {state:DeliveryState}"))
@then(step("the delivery of {order:Order} is {state:DeliveryState}"))
@then(step("the delivery of {order:Order} is still {state:DeliveryState}"))
def is_in_state(world: World, order: str, state: str) -> None:
    world.eventually(lambda: same(_view(world, order)["status"], state))


@then(step('{order:Order} is assigned to "{courier:Name}"'))
def is_assigned(world: World, order: str, courier: str) -> None:
    expected = courier
    world.eventually(lambda: same(world.couriers.of(str(_view(world, order)["assigned_courier"])), expected))


@then(step("{order:Order} is assigned to nobody"))
def is_assigned_to_nobody(world: World, order: str) -> None:
    world.eventually(lambda: same(_view(world, order)["assigned_courier"], None))


@then(step("the delivery of {order:Order} goes:"))
def goes(world: World, order: str, datatable: Table) -> None:
    def places() -> Table:
        view = _view(world, order)
        return [["from", "to"], [view["pickup_address"]["street1"], view["delivery_address"]["street1"]]]

    world.eventually(lambda: same(places(), datatable))


@then(step("the delivery of {order:Order} shows the promised time"))
def shows_promise(world: World, order: str) -> None:
    promised = world.notes[f"promised time of {order}"]
    world.eventually(lambda: same(datetime.fromisoformat(_view(world, order)["ready_by"] or ""), promised))


@then(step('the plan of "{courier:Name}" is:'))
def plan_is(world: World, courier: str, datatable: Table) -> None:
    expected = [(row["do"], row["order"], row["at"], row["when"]) for row in rows(datatable)]
    world.eventually(lambda: same(_plan(world, courier), expected))


@then(step('"{courier:Name}" has nothing to do'))
def has_nothing_to_do(world: World, courier: str) -> None:
    world.eventually(lambda: same(_plan(world, courier), []))


@then(step('the courier "{courier:Name}" is on duty'))
def is_on_duty(world: World, courier: str) -> None:
    world.eventually(lambda: same(_courier(world, courier)["available"], True))


@then(step('the courier "{courier:Name}" is off duty'))
def is_off_duty(world: World, courier: str) -> None:
    world.eventually(lambda: same(_courier(world, courier)["available"], False))


def _plan(world: World, courier: str) -> list[tuple[str, str, str, str]]:
    """Return the courier's plan in the form of the tables."""
    plan = []
    for action in _courier(world, courier)["plan"]:
        order = world.orders.of(action["delivery_id"])
        promised = world.notes[f"promised time of {order}"]
        minutes = (datetime.fromisoformat(action["when"]) - promised).total_seconds() / 60
        when = f"{minutes:g} minutes later" if minutes else "at the promised time"
        plan.append((_ACTIONS[action["action"]], order, action["address"]["street1"], when))
    return plan


def _be_available(world: World, courier: str, available: bool) -> None:
    if courier not in world.couriers:
        world.couriers.stranger(courier)
    path = f"/couriers/{world.couriers[courier]}/availability"
    answer = world.act("delivery", "POST", path, {"available": available}, success=201)
    assert answer == {"available": available}


def _courier(world: World, courier: str) -> Any:
    return world.get("delivery", f"/couriers/{world.couriers[courier]}")


def _path(world: World, order: str) -> str:
    return f"/deliveries/{world.orders[order]}"


def _view(world: World, order: str) -> Any:
    return world.get("delivery", _path(world, order))
