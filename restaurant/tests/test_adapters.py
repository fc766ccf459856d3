"""The restaurant service's rows on PostgreSQL."""

from collections.abc import Callable

from restaurant.adapters import postgres
from restaurant.application.unit_of_work import RestaurantUnitOfWork
from restaurant.domain.restaurant import Restaurant
from restaurant.tests.test_restaurant import ADDRESS, dish
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.clock import utc_now
from shared.core.policy import Policy
from shared.host.migrations import migrate
from shared.host.provision import Database
from shared.unit_of_work.unit_of_work import Units


async def test_a_restaurant_is_stored_with_its_events(new_database: Callable[[str], Database]) -> None:
    provisioned = new_database("restaurant")
    migrate(provisioned.service, provisioned.migrations_url)
    database = PostgresDatabase(provisioned.url, postgres.TABLES)
    units = Units(database, lambda transaction: RestaurantUnitOfWork(transaction, utc_now, Policy()))
    try:
        async with units.begin() as uow:
            await uow.restaurants.add(Restaurant.create("r", "Ajanta", ADDRESS, (dish("pizza"),)))
        async with units.begin() as uow:
            (await uow.restaurants.get("r")).revise_menu((dish("calzone"), dish("water", 0)))
        async with units.begin() as uow:
            restaurant = await uow.restaurants.get("r")
        assert (restaurant.name, restaurant.address) == ("Ajanta", ADDRESS)
        assert restaurant.menu == (dish("calzone"), dish("water", 0))
        async with database.transaction() as transaction:
            history = (await transaction.events.load("Restaurant", "", ["r"]))["r"]
            published = await transaction.driver.fetch("select subject from outbox order by id")
    finally:
        await database.close()
    assert [(event.version, event.type) for event in history.events] == [
        (1, "restaurant.RestaurantCreated"),
        (2, "restaurant.RestaurantMenuRevised"),
    ]
    assert [row["subject"] for row in published] == [f"event.{event.type}" for event in history.events]
