"""What other services may know of restaurants."""

from kernel.values import Address, MenuItem, RestaurantId
from shared.core.messages import Event


class RestaurantCreated(Event, key="restaurant_id"):
    restaurant_id: RestaurantId
    name: str
    address: Address
    menu: tuple[MenuItem, ...]


class RestaurantMenuRevised(Event, key="restaurant_id"):
    restaurant_id: RestaurantId
    menu: tuple[MenuItem, ...]
