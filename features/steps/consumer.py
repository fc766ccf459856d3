"""Consumers and their addresses."""

from typing import Any

from pytest_bdd import given, then, when

from features.steps.language import Table, address, names, rows, step
from features.steps.outcomes import same
from features.world import World


@given(step('the consumer "{consumer:Name}"'))
def registered(world: World, consumer: str) -> None:
    registers(world, consumer)
    # An account is opened a little later; until then it can be neither disabled nor looked at.
    world.eventually(lambda: world.get("accounting", f"/accounts/{world.consumers[consumer]}"))


@given(step('"{consumer:Name}", who never registered'))
def never_registered(world: World, consumer: str) -> None:
    world.consumers.stranger(consumer)


@when(step('a consumer registers with the name "{consumer:Name}"'))
def registers(world: World, consumer: str) -> None:
    registers_as(world, consumer, consumer)


@when(step('another consumer, "{consumer:Name}", registers with the name "{name:Name}"'))
def registers_as(world: World, consumer: str, name: str) -> None:
    answer = world.act("consumer", "POST", "/consumers", {"name": name}, success=201)
    if answer is not None:
        world.consumers[consumer] = answer["id"]


@when("a consumer registers without a name")
def registers_without_a_name(world: World) -> None:
    world.act("consumer", "POST", "/consumers", {}, success=201)


@given(step('"{consumer:Name}" has changed their name to "{name:Name}"'))
@when(step('"{consumer:Name}" changes their name to "{name:Name}"'))
def renames(world: World, consumer: str, name: str) -> None:
    world.act("consumer", "PUT", f"{_path(world, consumer)}/rename", {"name": name})


@given(step('"{consumer:Name}" has added the address "{label:Name}":'))
@when(step('"{consumer:Name}" adds the address "{label:Name}":'))
def adds_address(world: World, consumer: str, label: str, datatable: Table) -> None:
    body = {"address_id": label, "address": _only(datatable)}
    world.act("consumer", "POST", f"{_path(world, consumer)}/addresses", body, success=201)


@given(step('"{consumer:Name}" has removed the address "{label:Name}"'))
@when(step('"{consumer:Name}" removes the address "{label:Name}"'))
def removes_address(world: World, consumer: str, label: str) -> None:
    world.act("consumer", "DELETE", f"{_path(world, consumer)}/addresses/{label}", success=204)


@when(step('"{consumer:Name}" changes the address "{label:Name}" to:'))
def changes_address(world: World, consumer: str, label: str, datatable: Table) -> None:
    body = {"address": _only(datatable)}
    world.act("consumer", "PUT", f"{_path(world, consumer)}/addresses/{label}", body)


@given(step('"{consumer:Name}" has been erased'))
@when(step('"{consumer:Name}" is erased'))
def erases(world: World, consumer: str) -> None:
    world.act("consumer", "DELETE", _path(world, consumer), success=204)


@when(step('the consumer "{consumer:Name}" is looked up'))
def looked_up(world: World, consumer: str) -> None:
    world.look_up("consumer", _path(world, consumer))


@when(step('"{consumer:Name}" looks up the address "{label:Name}"'))
def looks_up_address(world: World, consumer: str, label: str) -> None:
    world.look_up("consumer", f"{_path(world, consumer)}/addresses/{label}")


@then(step('"{consumer:Name}" is called "{name:Name}"'))
def is_called(world: World, consumer: str, name: str) -> None:
    world.eventually(lambda: same(_view(world, consumer)["name"], name))


@then(step('"{one:Name}" and "{other:Name}" are different consumers'))
def are_different(world: World, one: str, other: str) -> None:
    assert _view(world, one)["consumer_id"] != _view(world, other)["consumer_id"]


@then(step('the address "{label:Name}" of "{consumer:Name}" is:'))
def address_is(world: World, label: str, consumer: str, datatable: Table) -> None:
    expected = _only(datatable)
    path = f"{_path(world, consumer)}/addresses/{label}"
    world.eventually(lambda: same(world.get("consumer", path), expected))


@then(step('"{consumer:Name}" has the addresses:'))
def has_addresses(world: World, consumer: str, datatable: Table) -> None:
    expected = dict(zip(names(datatable), (address(row) for row in rows(datatable)), strict=True))
    world.eventually(lambda: same(_view(world, consumer)["addresses"], expected))


@then(step('"{consumer:Name}" has no addresses'))
def has_no_addresses(world: World, consumer: str) -> None:
    world.eventually(lambda: same(_view(world, consumer)["addresses"], {}))


def _path(world: World, consumer: str) -> str:
    return f"/consumers/{world.consumers[consumer]}"


def _view(world: World, consumer: str) -> Any:
    return world.get("consumer", _path(world, consumer))


def _only(table: Table) -> dict[str, str | None]:
    (row,) = rows(table)
    return address(row)
