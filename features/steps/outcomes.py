"""How an action ends: most steps about it are with the service; refusals, and services that are away, are here."""

from pytest_bdd import given, then, when

from features.steps.language import step
from features.world import INVALID, STATUS_OF, World

# Where the API's own words for what is wrong speak of it.
_PARTS = {
    "name": ".name:",
    "price": ".price:",
    "menu": ".menu_items:",
    "street": ".street1:",
    "quantities": ("line_items", "revised_quantities"),
    "page size": "limit:",
    "state": "status",
}


@then(step('it is refused because "{reason:Name}"'))
def refused_because(world: World, reason: str) -> None:
    refusal = world.take_refusal()
    assert refusal.message == reason
    assert refusal.status == STATUS_OF[reason]


@then(step("it is refused because the {part} is not valid"))
@then(step("it is refused because the {part} are not valid"))
def refused_as_invalid(world: World, part: str) -> None:
    refusal = world.take_refusal()
    assert refusal.status == INVALID, refusal
    words = _PARTS[part]
    assert any(word in refusal.message for word in ([words] if isinstance(words, str) else words)), refusal


@given(step("the {service:Service} service is away"))
@when(step("the {service:Service} service goes away"))
def goes_away(world: World, service: str) -> None:
    world.service_goes_away(service)


@given(step("the {service:Service} service is back"))
@when(step("the {service:Service} service is back"))
def is_back(world: World, service: str) -> None:
    world.service_is_back(service)


@given(step('the kitchen service has lost what it knew of "{restaurant:Name}"'))
def has_lost(world: World, restaurant: str) -> None:
    world.kitchen_loses(restaurant)


@given(step("the kitchen service has mislaid the ticket of {order:Order}"))
def has_mislaid(world: World, order: str) -> None:
    world.kitchen_mislays(order)


@when(step("the kitchen service finds the ticket of {order:Order} again"))
def finds_again(world: World, order: str) -> None:
    world.kitchen_finds(order)


def same(actual: object, expected: object) -> None:
    """Return a condition for `World.eventually`."""
    assert actual == expected
