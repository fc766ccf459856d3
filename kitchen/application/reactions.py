"""The reactions of the kitchen service to events."""

from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.domain.restaurant import Restaurant
from restaurant.contracts import RestaurantCreated
from shared.messaging.handlers import handles


@handles
async def copy_restaurant(event: RestaurantCreated, uow: KitchenUnitOfWork) -> None:
    await uow.restaurants.add(Restaurant(id=event.restaurant_id, name=event.name))
