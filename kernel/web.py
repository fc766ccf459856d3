"""Common parts of FTGO's APIs: the address, and the descriptions of the tags."""

from pydantic import (
    Field,
)

from kernel.values import Address
from shared.web.parameters import Body, Name, Text

AN_ADDRESS = {"street1": "1 Main Street", "street2": "Unit 99", "city": "Oakland", "state": "CA", "zip": "94611"}
"""An address for examples."""


TAGS = {
    "accounts": "What consumers may spend.",
    "consumers": "Who orders, and where to.",
    "couriers": "Who brings it.",
    "deliveries": "How an order gets from its restaurant to its consumer.",
    "orders": "What consumers have ordered.",
    "restaurants": "Who cooks.",
    "tickets": "What a kitchen has to do.",
}


class AddressBody(Body):
    """Where somebody lives or cooks."""

    street1: Name = Field(examples=["1 Main Street"])
    street2: Text | None = Field(None, examples=["Unit 99"])
    city: Name = Field(examples=["Oakland"])
    state: Name = Field(examples=["CA"])
    zip: Name = Field(examples=["94611"])

    def to_value(self) -> Address:
        """Return the domain's value."""
        return Address(street1=self.street1, street2=self.street2, city=self.city, state=self.state, zip=self.zip)
