"""The restaurant: where it is, and what it cooks for how much."""

from dataclasses import dataclass

from kernel.values import Address, MenuItem, RestaurantId
from restaurant.contracts import RestaurantCreated, RestaurantMenuRevised
from restaurant.domain.errors import MenuItemIdsNotUnique, PriceIsNegative
from shared.eventsourcing.aggregate import RecordingEntity

Menu = tuple[MenuItem, ...]


@dataclass(kw_only=True)
class Restaurant(RecordingEntity):
    """A restaurant. Its menu may be empty: it can open before it has decided what to cook."""

    name: str
    address: Address
    menu: Menu

    @property
    def restaurant_id(self) -> RestaurantId:
        """The restaurant's id."""
        return RestaurantId(self.id)

    @classmethod
    def create(cls, id_: str, name: str, address: Address, menu: Menu) -> "Restaurant":
        """Creates a restaurant."""
        restaurant = cls(id=id_, name=name, address=address, menu=_valid(menu))
        restaurant.record(
            RestaurantCreated(restaurant_id=restaurant.restaurant_id, name=name, address=address, menu=menu)
        )
        return restaurant

    def revise_menu(self, menu: Menu) -> None:
        """Replaces the menu; does nothing if the menu is the same."""
        if _valid(menu) != self.menu:
            self.menu = menu
            self.record(RestaurantMenuRevised(restaurant_id=self.restaurant_id, menu=menu))


def _valid(menu: Menu) -> Menu:
    if len({item.id for item in menu}) < len(menu):
        raise MenuItemIdsNotUnique
    if any(item.price < 0 for item in menu):
        raise PriceIsNegative
    return menu
