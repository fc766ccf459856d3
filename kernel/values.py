"""Ids and values that services share. They are here so that contracts do not import each other in a circle."""

from dataclasses import dataclass
from typing import NewType

ConsumerId = NewType("ConsumerId", str)
CourierId = NewType("CourierId", str)
MenuItemId = NewType("MenuItemId", str)
OrderId = NewType("OrderId", str)
RestaurantId = NewType("RestaurantId", str)
TicketId = NewType("TicketId", str)

Money = NewType("Money", int)
"""An amount in cents."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of a person or a restaurant."""

    street1: str
    street2: str | None = None
    city: str
    state: str
    zip: str


ERASED_ADDRESS = Address(street1="", city="", state="", zip="")
"""Replaces an address that was erased."""


@dataclass(frozen=True, kw_only=True)
class MenuItem:
    """A dish and its price."""

    id: MenuItemId
    name: str
    price: Money


@dataclass(frozen=True, kw_only=True)
class LineItem:
    """A dish as it was ordered, with its name and price at that time."""

    menu_item_id: MenuItemId
    name: str
    price: Money
    quantity: int


def total_of(line_items: tuple[LineItem, ...]) -> Money:
    """Return the total price of the line items."""
    return Money(sum(item.price * item.quantity for item in line_items))


def with_quantities(line_items: tuple[LineItem, ...], quantities: dict[MenuItemId, int]) -> tuple[LineItem, ...]:
    """Return the line items with other quantities: 0 removes a line, lines that are not named stay."""
    revised = (
        LineItem(
            menu_item_id=item.menu_item_id,
            name=item.name,
            price=item.price,
            quantity=quantities.get(item.menu_item_id, item.quantity),
        )
        for item in line_items
    )
    return tuple(item for item in revised if item.quantity > 0)
