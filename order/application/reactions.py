"""What the order service does when something has happened."""

from order.application.ports import OrderUnitOfWork
from order.domain.restaurant import Restaurant
from restaurant.contracts import RestaurantCreated, RestaurantMenuRevised
from shared.messaging.handlers import handles


@handles
async def copy_restaurant(event: RestaurantCreated, uow: OrderUnitOfWork) -> None:
    await uow.restaurants.add(Restaurant(id=event.restaurant_id, name=event.name, menu=event.menu))


@handles
async def copy_menu(event: RestaurantMenuRevised, uow: OrderUnitOfWork) -> None:
    restaurant = await uow.restaurants.get(event.restaurant_id)
    restaurant.menu = event.menu
