"""An order of the demo: its story, and where it must end."""

from dataclasses import dataclass, field
from typing import Any

from shared.core.ids import new_id
from tools.demo.town import Place

Ending = dict[str, Any]
"""What of an order must be how in the end, by the words that a complaint names it with."""

DELIVERED: Ending = {
    "state": "Approved",
    "ticket": "PickedUp",
    "delivery": "DELIVERED",
    "state in the history": "Approved",
    "delivery in the history": "DELIVERED",
}
CANCELLED: Ending = {
    "state": "Cancelled",
    "ticket": "Cancelled",
    "delivery": "CANCELLED",
    "state in the history": "Cancelled",
    "delivery in the history": "CANCELLED",
}
REJECTED: Ending = {
    "state": "Rejected",
    "rejection": "account is disabled",
    "ticket": "Cancelled",
    "delivery": "CANCELLED",
    "state in the history": "Rejected",
    "delivery in the history": "CANCELLED",
}


@dataclass(eq=False)
class DemoOrder:
    """One order. All requests about it carry the same correlation id, so that all its messages have it too."""

    number: int
    story: str
    consumer: str
    place: Place
    quantities: dict[str, int]
    ending: Ending
    correlation_id: str = field(default_factory=new_id)
    id: str = ""
    ticket_id: str = ""
    has_ended: bool = False
    failed: bool = False

    @property
    def name(self) -> str:
        """The order's name in error messages."""
        return f"Order {self.id or 'without an id'} ({self.story.lower()})"

    @property
    def total(self) -> int:
        """The order's total, in cents."""
        return sum(self.place.menu[item][1] * quantity for item, quantity in self.quantities.items())


def difference(wanted: Ending, found: Ending) -> str:
    """Return how the order differs from its expected end; "" if it doesn't."""
    return ", ".join(
        f"its {what} is {found.get(what) or 'missing'} instead of {value}"
        for what, value in wanted.items()
        if found.get(what) != value
    )
