"""The consumer: a name, and addresses under labels of the consumer's own."""

from dataclasses import dataclass, field
from typing import Self, assert_never

from consumer.contracts import (
    AddressAdded,
    AddressRemoved,
    AddressUpdated,
    ConsumerErased,
    ConsumerRegistered,
    ConsumerUpdated,
)
from consumer.domain.errors import (
    AddressAlreadyExists,
    AddressNotFound,
    ConsumerNotFound,
    ConsumerWithoutName,
    TooManyAddresses,
)
from kernel.values import Address, ConsumerId
from shared.eventsourcing.aggregate import Aggregate

ConsumerEvent = ConsumerRegistered | ConsumerUpdated | AddressAdded | AddressUpdated | AddressRemoved | ConsumerErased

MAX_ADDRESSES = 50
"""Of one consumer. Each order that names the consumer has all of them in memory."""


@dataclass(eq=False)
class Consumer(Aggregate[ConsumerEvent]):
    """A person who orders. Two consumers may have the same name. An erased consumer counts as unknown."""

    name: str = field(init=False)
    addresses: dict[str, Address] = field(default_factory=dict)
    erased: bool = False

    @property
    def consumer_id(self) -> ConsumerId:
        """The consumer's id."""
        return ConsumerId(self.id)

    @classmethod
    def register(cls, id_: ConsumerId, name: str) -> Self:
        """Registers a new consumer."""
        consumer = cls(id=id_)
        consumer.record(ConsumerRegistered(consumer_id=consumer.consumer_id, name=_named(name)))
        return consumer

    def rename(self, name: str) -> None:
        """Changes the consumer's name."""
        self.require_known()
        self.record(ConsumerUpdated(consumer_id=self.consumer_id, name=_named(name)))

    def add_address(self, address_id: str, address: Address) -> None:
        """Adds an address under a label that is not in use."""
        self.require_known()
        if address_id in self.addresses:
            raise AddressAlreadyExists
        if len(self.addresses) >= MAX_ADDRESSES:
            raise TooManyAddresses
        self.record(AddressAdded(consumer_id=self.consumer_id, address_id=address_id, address=address))

    def update_address(self, address_id: str, address: Address) -> None:
        """Replaces the address under a label."""
        self.address(address_id)
        self.record(AddressUpdated(consumer_id=self.consumer_id, address_id=address_id, address=address))

    def remove_address(self, address_id: str) -> None:
        """Removes the address under a label; the label is free again."""
        self.address(address_id)
        self.record(AddressRemoved(consumer_id=self.consumer_id, address_id=address_id))

    def address(self, address_id: str) -> Address:
        """Returns the address under a label; raises AddressNotFound."""
        self.require_known()
        if address_id not in self.addresses:
            raise AddressNotFound
        return self.addresses[address_id]

    def erase(self) -> None:
        """Erases the name and the addresses for ever, and their earlier values too."""
        if not self.erased:
            self.record(ConsumerErased(consumer_id=self.consumer_id))

    def require_known(self) -> None:
        """Raises ConsumerNotFound if the consumer was erased."""
        if self.erased:
            raise ConsumerNotFound

    def apply(self, event: ConsumerEvent) -> None:
        """Changes the fields as the event says, without decisions or refusals."""
        match event:
            case ConsumerRegistered() | ConsumerUpdated():
                self.name = event.name
            case AddressAdded() | AddressUpdated():
                self.addresses[event.address_id] = event.address
            case AddressRemoved():
                self.addresses.pop(event.address_id, None)  # its label is gone if the consumer was erased
            case ConsumerErased():
                self.name, self.addresses, self.erased = "", {}, True
            case _:
                assert_never(event)


def _named(name: str) -> str:
    if not name.strip():
        raise ConsumerWithoutName
    return name
