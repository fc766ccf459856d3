"""What other services may know and ask of consumers."""

from kernel.values import ERASED_ADDRESS, Address, ConsumerId, Money, OrderId
from shared.core.messages import Command, Event


class ValidateOrderByConsumer(Command, key="consumer_id"):
    consumer_id: ConsumerId
    order_id: OrderId
    order_total: Money


class ConsumerRegistered(Event, key="consumer_id", personal={"name": ""}):
    consumer_id: ConsumerId
    name: str


class ConsumerUpdated(Event, key="consumer_id", personal={"name": ""}):
    consumer_id: ConsumerId
    name: str


class AddressAdded(Event, key="consumer_id", personal={"address_id": "", "address": ERASED_ADDRESS}):
    consumer_id: ConsumerId
    address_id: str
    address: Address


class AddressUpdated(Event, key="consumer_id", personal={"address_id": "", "address": ERASED_ADDRESS}):
    consumer_id: ConsumerId
    address_id: str
    address: Address


class AddressRemoved(Event, key="consumer_id", personal={"address_id": ""}):
    consumer_id: ConsumerId
    address_id: str


class ConsumerErased(Event, key="consumer_id", erases=True):
    consumer_id: ConsumerId
