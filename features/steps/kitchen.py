"""Tickets: what a restaurant's kitchen has to do for an order."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from pytest_bdd import given, then, when

from features.steps.language import TICKET_STATES, Table, items_table, names, rows, step
from features.steps.outcomes import same
from features.world import World

_ACTIONS = {
    "accepts": "accept",
    "starts preparing": "preparing",
    "finishes": "ready",
    "hands over": "picked-up",
}


@given(step("the kitchen has accepted {order:Order}"))
def has_accepted(world: World, order: str) -> None:
    accepts(world, order, 30)
    is_in_state(world, order, "Accepted")


@given(step("the kitchen has started preparing {order:Order}"))
def has_started(world: World, order: str) -> None:
    has_accepted(world, order)
    _act(world, order, "preparing")


@given(step("the kitchen has finished {order:Order}"))
def has_finished(world: World, order: str) -> None:
    has_started(world, order)
    _act(world, order, "ready")


@given(step("the kitchen has handed over {order:Order}"))
def has_handed_over(world: World, order: str) -> None:
    has_finished(world, order)
    _act(world, order, "picked-up")
    on_its_way = f"/deliveries/{world.orders[order]}"
    world.eventually(lambda: same(world.get("delivery", on_its_way)["status"], "PICKED_UP"))


@when(step("the kitchen accepts {order:Order}, to be ready in {minutes:d} minutes"))
def accepts(world: World, order: str, minutes: int) -> None:
    ready_by = world.later(minutes)
    world.notes[f"promised time of {order}"] = datetime.fromisoformat(ready_by)
    _act(world, order, "accept", {"ready_by": ready_by})


@when(step("the kitchen accepts {order:Order}, to be ready {minutes:d} minutes ago"))
def accepts_for_the_past(world: World, order: str, minutes: int) -> None:
    accepts(world, order, -minutes)


@when(step("the kitchen accepts {order:Order}"))
def accepts_as_usual(world: World, order: str) -> None:
    accepts(world, order, 30)


@when(step("the kitchen starts preparing {order:Order}"))
def starts(world: World, order: str) -> None:
    _act(world, order, "preparing")


@when(step("the kitchen finishes {order:Order}"))
def finishes(world: World, order: str) -> None:
    _act(world, order, "ready")


@when(step("the kitchen hands over {order:Order}"))
def hands_over(world: World, order: str) -> None:
    _act(world, order, "picked-up")


@when(step("the kitchen {action} a ticket that does not exist"))
def acts_on_nothing(world: World, action: str) -> None:
    body = {"ready_by": world.later(30)} if action == "accepts" else None
    world.act("kitchen", "POST", f"/tickets/{uuid4()}/{_ACTIONS[action]}", body, success=202)


@when("a ticket that does not exist is looked up")
def looked_up(world: World) -> None:
    world.look_up("kitchen", f"/tickets/{uuid4()}")


@given(step("the ticket of {order:Order} is {state:TicketState}"))
@then(step("the ticket of {order:Order} is {state:TicketState}"))
@then(step("the ticket of {order:Order} is still {state:TicketState}"))
def is_in_state(world: World, order: str, state: str) -> None:
    world.eventually(lambda: same(_ticket(world, order)["status"], state))


@then(step("the ticket of {order:Order} contains:"))
def contains(world: World, order: str, datatable: Table) -> None:
    world.eventually(lambda: same(items_table(_ticket(world, order)["line_items"], datatable[0]), datatable))


@then(step("the ticket of {order:Order} shows the promised time"))
def shows_promise(world: World, order: str) -> None:
    promised = world.notes[f"promised time of {order}"]
    ticket = world.eventually(lambda: _ticket(world, order))
    assert datetime.fromisoformat(ticket["ready_by"]) == promised
    assert datetime.fromisoformat(ticket["accepted_at"]) < promised


@then(step("the ticket of {order:Order} shows no promised time"))
def shows_no_promise(world: World, order: str) -> None:
    ticket = world.eventually(lambda: _ticket(world, order))
    assert (ticket["accepted_at"], ticket["ready_by"]) == (None, None)


@then(step("the ticket of {order:Order} can be looked up"))
def can_be_looked_up(world: World, order: str) -> None:
    ticket = world.eventually(lambda: _ticket(world, order))
    assert world.get("kitchen", f"/tickets/{ticket['id']}") == ticket
    assert ticket["order_id"] == world.orders[order]


@then(step("{order:Order} has no ticket in the kitchen"))
def has_no_ticket(world: World, order: str) -> None:
    world.eventually(lambda: same(_tickets(world, order_id=world.orders[order]), []))


@then(step("{order:Order} has one ticket in the kitchen"))
def has_one_ticket(world: World, order: str) -> None:
    world.eventually(lambda: same(len(_tickets(world, order_id=world.orders[order])), 1))


@then(step('the tickets of "{restaurant:Name}" are:'))
def tickets_are(world: World, restaurant: str, datatable: Table) -> None:
    expected = {(world.orders[row["order"]], row["ticket"]) for row in rows(datatable)}
    world.eventually(lambda: same(_of(world, restaurant), expected))


@then(step('the tickets of "{restaurant:Name}" that are {state:TicketState} are for:'))
def tickets_in_state_are(world: World, restaurant: str, state: str, datatable: Table) -> None:
    expected = {world.orders[name] for name in names(datatable)}
    world.eventually(lambda: same({id_ for id_, _ in _of(world, restaurant, status=state)}, expected))


def _of(world: World, restaurant: str, **criteria: str) -> set[tuple[str, str]]:
    words = {status: text for text, status in TICKET_STATES.items()}
    found = _tickets(world, restaurant_id=world.restaurants[restaurant], **criteria)
    return {(ticket["order_id"], words[ticket["status"]]) for ticket in found}


def _act(world: World, order: str, action: str, body: object = None) -> None:
    ticket = world.eventually(lambda: _ticket(world, order))
    world.act("kitchen", "POST", f"/tickets/{ticket['id']}/{action}", body, success=202)


def _ticket(world: World, order: str) -> Any:
    found = _tickets(world, order_id=world.orders[order])
    assert len(found) == 1, f"there are {len(found)} tickets"
    return found[0]


def _tickets(world: World, **criteria: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.get("kitchen", "/tickets", criteria)["tickets"]
    return found
