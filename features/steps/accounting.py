"""Accounts: whether a consumer may spend, and how much is authorized."""

from typing import Any

from pytest_bdd import given, then, when

from features.steps.language import step
from features.steps.outcomes import same
from features.world import World


@given(step('the account of "{consumer:Name}" has been disabled'))
@when(step('the account of "{consumer:Name}" is disabled'))
def disables(world: World, consumer: str) -> None:
    world.act("accounting", "PUT", f"{_path(world, consumer)}/disable")


@given(step('the account of "{consumer:Name}" has been enabled again'))
@when(step('the account of "{consumer:Name}" is enabled'))
def enables(world: World, consumer: str) -> None:
    world.act("accounting", "PUT", f"{_path(world, consumer)}/enable")


@when(step('the account of "{consumer:Name}" is looked up'))
def looked_up(world: World, consumer: str) -> None:
    world.look_up("accounting", _path(world, consumer))


@then(step('"{consumer:Name}" has an account in the name of "{name:Name}"'))
def has_account(world: World, consumer: str, name: str) -> None:
    world.eventually(lambda: same(_view(world, consumer)["name"], name))


@then(step('the account of "{consumer:Name}" is enabled'))
def is_enabled(world: World, consumer: str) -> None:
    world.eventually(lambda: same(_view(world, consumer)["enabled"], True))


@then(step('the account of "{consumer:Name}" is disabled'))
def is_disabled(world: World, consumer: str) -> None:
    world.eventually(lambda: same(_view(world, consumer)["enabled"], False))


@then(step('"{consumer:Name}" has {amount:Money} authorized'))
def has_authorized(world: World, consumer: str, amount: int) -> None:
    world.eventually(lambda: same(_view(world, consumer)["authorized_total"], amount))


def _path(world: World, consumer: str) -> str:
    return f"/accounts/{world.consumers[consumer]}"


def _view(world: World, consumer: str) -> Any:
    return world.get("accounting", _path(world, consumer))
