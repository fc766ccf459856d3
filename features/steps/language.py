"""The words and tables of the steps, and what they stand for in the API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_bdd import parsers

from kernel.topology import BY_NAME

THE_ORDER = "the order"
"""The name of a scenario's only order."""

ORDER_STATES = {
    "waiting for approval": "ApprovalPending",
    "approved": "Approved",
    "rejected": "Rejected",
    "being cancelled": "CancelPending",
    "cancelled": "Cancelled",
    "being revised": "RevisionPending",
}

TICKET_STATES = {
    "being created": "CreatePending",
    "awaiting acceptance": "AwaitingAcceptance",
    "accepted": "Accepted",
    "being prepared": "Preparing",
    "ready for pick-up": "ReadyForPickup",
    "picked up": "PickedUp",
    "being cancelled": "CancelPending",
    "cancelled": "Cancelled",
    "being revised": "RevisionPending",
}

DELIVERY_STATES = {
    "pending": "PENDING",
    "scheduled": "SCHEDULED",
    "picked up": "PICKED_UP",
    "delivered": "DELIVERED",
    "cancelled": "CANCELLED",
}

SERVICES = {name.replace("_", " "): name for name in BY_NAME}

Table = list[list[str]]
"""A table of a step: the headings, then the rows."""


@dataclass(frozen=True)
class Word:
    """A word or phrase of the steps: how it is written, and what it stands for."""

    pattern: str
    meaning: Callable[[str], object]

    def __call__(self, text: str) -> object:
        """Convert the text for the parser."""
        return self.meaning(text)


def _one_of(words: Mapping[str, str]) -> Word:
    longest_first = sorted(words, key=len, reverse=True)
    return Word("|".join(longest_first), words.__getitem__)


def _order(text: str) -> str:
    return text.partition('"')[2].rstrip('"') or THE_ORDER


_WORDS: dict[str, Word] = {
    "Name": Word(r'[^"]*', str),
    "Order": Word(r'the order(?: "[^"]+")?', _order),
    "Money": Word(r"\$\d+\.\d\d", lambda text: cents(text.removeprefix("$"))),
    "OrderState": _one_of(ORDER_STATES),
    "TicketState": _one_of(TICKET_STATES),
    "DeliveryState": _one_of(DELIVERY_STATES),
    "Service": _one_of(SERVICES),
}


def step(text: str) -> parsers.StepParser:
    """A step's text with the words of our language: `"{consumer:Name}" cancels {order:Order}`."""
    return parsers.cfparse(text, extra_types=_WORDS)


def rows(table: Table) -> list[dict[str, str]]:
    """Return a table's rows, with the cells by their headings."""
    headings, *lines = table
    return [dict(zip(headings, line, strict=True)) for line in lines]


def names(table: Table) -> list[str]:
    """Return the first column of a table."""
    return [line[0] for line in table[1:]]


def cents(text: str) -> int:
    """Return the cents of an amount such as 12.34, or -12.34."""
    sign = -1 if text.startswith("-") else 1
    whole, _, hundredths = text.removeprefix("-").partition(".")
    return sign * (int(whole) * 100 + int(hundredths))


def dollars(amount: int) -> str:
    """Return the amount in the form of the tables."""
    return f"{amount / 100:.2f}"


def menu_item_id(dish: str) -> str:
    """Return the id that a restaurant gives a dish."""
    return dish.lower().replace(" ", "-")


def address(row: dict[str, str]) -> dict[str, str | None]:
    """Return an address in the form of the API."""
    return {
        "street1": row["street"],
        "street2": row.get("unit") or None,
        "city": row["city"],
        "state": row["state"],
        "zip": row["zip"],
    }


def menu(table: Table) -> list[dict[str, object]]:
    """Return a menu of dishes and prices in the form of the API."""
    return [{"id": menu_item_id(row["dish"]), "name": row["dish"], "price": cents(row["price"])} for row in rows(table)]


def quantities(table: Table) -> dict[str, int]:
    """Return the quantity of each dish in the form of the API."""
    return {menu_item_id(row["dish"]): int(row["quantity"]) for row in rows(table)}


def items_table(line_items: Sequence[dict[str, Any]], headings: Sequence[str]) -> Table:
    """Return the ordered items as a table with these headings."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "dish": lambda item: item["name"],
        "price": lambda item: dollars(item["price"]),
        "quantity": lambda item: str(item["quantity"]),
    }
    return [list(headings), *([columns[heading](item) for heading in headings] for item in line_items)]
