"""What clients ask of the restaurant service, on a memory database."""

import pytest

from kernel.values import RestaurantId
from restaurant.application.commands import CreateRestaurant, ReviseMenu, create_restaurant, revise_menu
from restaurant.application.queries import MenuView, RestaurantView, get_restaurant
from restaurant.application.unit_of_work import RestaurantUnitOfWork
from restaurant.contracts import RestaurantCreated, RestaurantMenuRevised
from restaurant.domain.errors import RestaurantNotFound
from restaurant.tests.test_restaurant import ADDRESS, dish
from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import utc_now
from shared.core.ids import new_id
from shared.core.messages import Event
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Units

Published = list[Event]


def units_in_memory(published: Published) -> Units[RestaurantUnitOfWork]:
    return Units(
        MemoryDatabase("restaurant"),
        lambda transaction: RestaurantUnitOfWork(transaction, utc_now, Policy()),
        published.extend,
    )


async def test_a_restaurant_opens_and_revises_its_menu() -> None:
    published: Published = []
    units = units_in_memory(published)
    async with units.begin() as uow:
        command = CreateRestaurant(name="Ajanta", address=ADDRESS, menu=(dish("pizza"),))
        id_ = (await create_restaurant(command, uow)).id
    async with units.begin() as uow:
        await revise_menu(ReviseMenu(restaurant_id=id_, menu=(dish("calzone"),)), uow)
    async with units.begin() as uow:
        assert await get_restaurant(id_, uow) == RestaurantView(
            id=id_, name="Ajanta", address=ADDRESS, menu=MenuView(menu_items=(dish("calzone"),))
        )
    assert published == [
        RestaurantCreated(restaurant_id=id_, name="Ajanta", address=ADDRESS, menu=(dish("pizza"),)),
        RestaurantMenuRevised(restaurant_id=id_, menu=(dish("calzone"),)),
    ]


async def test_only_a_known_restaurant_revises_its_menu() -> None:
    with pytest.raises(RestaurantNotFound):
        async with units_in_memory([]).begin() as uow:
            await revise_menu(ReviseMenu(restaurant_id=RestaurantId(new_id()), menu=()), uow)
