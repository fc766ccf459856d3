"""The queries that clients can ask about restaurants."""

from dataclasses import dataclass

from kernel.values import Address, MenuItem, RestaurantId
from restaurant.application.unit_of_work import RestaurantUnitOfWork


@dataclass(frozen=True, kw_only=True)
class MenuView:
    """A menu, in the restaurant's order."""

    menu_items: tuple[MenuItem, ...]


@dataclass(frozen=True, kw_only=True)
class RestaurantView:
    """A restaurant and its present menu."""

    id: RestaurantId
    name: str
    address: Address
    menu: MenuView


async def get_restaurant(restaurant_id: RestaurantId, uow: RestaurantUnitOfWork) -> RestaurantView:
    """Raises RestaurantNotFound."""
    restaurant = await uow.restaurants.get(restaurant_id)
    return RestaurantView(
        id=restaurant.restaurant_id,
        name=restaurant.name,
        address=restaurant.address,
        menu=MenuView(menu_items=restaurant.menu),
    )
