"""The demo's consumers and restaurants."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Place:
    """A restaurant to be created: its menu is `{id: (name, cents)}`."""

    name: str
    street: str
    zip: str
    menu: dict[str, tuple[str, int]]

    def body(self) -> dict[str, Any]:
        """Return the request body for POST /api/restaurants."""
        items = [{"id": id_, "name": name, "price": price} for id_, (name, price) in self.menu.items()]
        return {"name": self.name, "address": address(self.street, self.zip), "menu": {"menu_items": items}}


def address(street: str, zip_: str) -> dict[str, str]:
    """Return an address in town."""
    return {"street1": street, "city": "Oakland", "state": "CA", "zip": zip_}


AJANTA = Place(
    name="Ajanta",
    street="1888 Solano Avenue",
    zip="94707",
    menu={
        "vegetable-samosas": ("Vegetable Samosas", 795),
        "chicken-vindaloo": ("Chicken Vindaloo", 1895),
        "palak-paneer": ("Palak Paneer", 1695),
        "lamb-rogan-josh": ("Lamb Rogan Josh", 2195),
        "garlic-naan": ("Garlic Naan", 425),
        "mango-lassi": ("Mango Lassi", 550),
    },
)
EGG_SHOP = Place(
    name="Montclair Egg Shop",
    street="6126 Medau Place",
    zip="94611",
    menu={
        "eggs-benedict": ("Eggs Benedict", 1750),
        "huevos-rancheros": ("Huevos Rancheros", 1625),
        "buttermilk-pancakes": ("Buttermilk Pancakes", 1295),
        "home-fries": ("Home Fries", 575),
        "orange-juice": ("Fresh Orange Juice", 595),
    },
)
PIZZERIA = Place(
    name="Pizzeria Lago",
    street="3315 Grand Avenue",
    zip="94610",
    menu={
        "margherita": ("Pizza Margherita", 1550),
        "quattro-formaggi": ("Pizza Quattro Formaggi", 1890),
        "diavola": ("Pizza Diavola", 1790),
        "insalata-mista": ("Insalata Mista", 895),
        "tiramisu": ("Tiramisù", 850),
        "acqua-frizzante": ("Acqua Frizzante", 395),
    },
)
