"""The order service's copy of restaurants: what can be ordered, and for how much."""

from collections.abc import Mapping
from dataclasses import dataclass

from kernel.values import LineItem, MenuItem, MenuItemId
from order.domain.errors import MenuItemNotFound, QuantityOutOfRange
from shared.eventsourcing.aggregate import Entity


@dataclass(kw_only=True)
class Restaurant(Entity):
    """A restaurant and its present menu."""

    name: str
    menu: tuple[MenuItem, ...]

    def line_items(self, quantities: Mapping[MenuItemId, int]) -> tuple[LineItem, ...]:
        """Returns the ordered line items at the present prices, in the sequence of the menu."""
        on_the_menu = {item.id for item in self.menu}
        if not on_the_menu.issuperset(quantities):
            raise MenuItemNotFound
        if any(quantity < 1 for quantity in quantities.values()):
            raise QuantityOutOfRange
        return tuple(
            LineItem(menu_item_id=item.id, name=item.name, price=item.price, quantity=quantities[item.id])
            for item in self.menu
            if item.id in quantities
        )
