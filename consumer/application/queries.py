"""The queries that clients can ask about consumers."""

from dataclasses import dataclass

from consumer.application.unit_of_work import ConsumerUnitOfWork
from kernel.values import Address, ConsumerId


@dataclass(frozen=True, kw_only=True)
class ConsumerView:
    """A consumer, with addresses by their labels."""

    consumer_id: ConsumerId
    name: str
    addresses: dict[str, Address]


async def get_consumer(consumer_id: ConsumerId, uow: ConsumerUnitOfWork) -> ConsumerView:
    """Raises ConsumerNotFound."""
    consumer = await uow.consumers.get(consumer_id)
    consumer.require_known()
    return ConsumerView(consumer_id=consumer.consumer_id, name=consumer.name, addresses=consumer.addresses)


async def get_address(consumer_id: ConsumerId, address_id: str, uow: ConsumerUnitOfWork) -> Address:
    """Raises ConsumerNotFound or AddressNotFound."""
    return (await uow.consumers.get(consumer_id)).address(address_id)
