"""The commands that clients can send to the restaurant service."""

from kernel.values import Address, MenuItem, RestaurantId
from restaurant.application.unit_of_work import RestaurantUnitOfWork
from restaurant.domain.restaurant import Restaurant
from shared.core.ids import new_id
from shared.core.messages import Command, Reply
from shared.messaging.handlers import handles


class CreateRestaurant(Command["RestaurantOpened"]):
    name: str
    address: Address
    menu: tuple[MenuItem, ...]


class RestaurantOpened(Reply):
    id: RestaurantId


class ReviseMenu(Command):
    restaurant_id: RestaurantId
    menu: tuple[MenuItem, ...]


@handles
async def create_restaurant(command: CreateRestaurant, uow: RestaurantUnitOfWork) -> RestaurantOpened:
    restaurant = await uow.restaurants.add(Restaurant.create(new_id(), command.name, command.address, command.menu))
    return RestaurantOpened(id=restaurant.restaurant_id)


@handles
async def revise_menu(command: ReviseMenu, uow: RestaurantUnitOfWork) -> None:
    restaurant = await uow.restaurants.get(command.restaurant_id)
    restaurant.revise_menu(command.menu)
