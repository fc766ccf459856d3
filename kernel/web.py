"""Common parts of FTGO's APIs: the address, and the descriptions of the tags."""

from pydantic import (
    Field,
)

from kernel.values import Address
from shared.web.parameters import Body, Name, Text

AN_ADDRESS = {"street1": "1 Main Street", "street2": "Unit 99", "city": "Oakland", "state": "CA", "zip": "94611"}
"""An address for examples."""


TAGS = {
    "accounts": "The accounts of consumers, who pay for orders.",
    "consumers": "The consumers who order, with their addresses.",
    "couriers": "The couriers who deliver orders.",
    "deliveries": "The deliveries of orders from restaurants to consumers.",
    "orders": "The orders of consumers.",
    "restaurants": "The restaurants, with their menus.",
    "tickets": "The tickets: the orders that a kitchen prepares.",
}


class AddressBody(Body):
    """The address of a person or a restaurant."""

    street1: Name = Field(examples=["1 Main Street"])
    street2: Text | None = Field(None, examples=["Unit 99"])
    city: Name = Field(examples=["Oakland"])
    state: Name = Field(examples=["CA"])
    zip: Name = Field(examples=["94611"])

    def to_value(self) -> Address:
        """Return the domain's value."""
        return Address(street1=self.street1, street2=self.street2, city=self.city, state=self.state, zip=self.zip)
