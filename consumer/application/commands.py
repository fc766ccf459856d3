"""The commands that clients and sagas can send to the consumer service."""

from consumer.application.unit_of_work import ConsumerUnitOfWork
from consumer.contracts import ValidateOrderByConsumer
from consumer.domain.consumer import Consumer
from kernel.values import Address, ConsumerId
from shared.core.ids import new_id
from shared.core.messages import Command, Reply
from shared.messaging.handlers import handles


class RegisterConsumer(Command["ConsumerAdmitted"]):
    name: str


class ConsumerAdmitted(Reply):
    id: ConsumerId


class RenameConsumer(Command):
    consumer_id: ConsumerId
    name: str


class AddAddress(Command):
    consumer_id: ConsumerId
    address_id: str
    address: Address


class UpdateAddress(Command):
    consumer_id: ConsumerId
    address_id: str
    address: Address


class RemoveAddress(Command):
    consumer_id: ConsumerId
    address_id: str


class EraseConsumer(Command):
    consumer_id: ConsumerId


@handles
async def register_consumer(command: RegisterConsumer, uow: ConsumerUnitOfWork) -> ConsumerAdmitted:
    consumer = Consumer.register(ConsumerId(new_id()), command.name)
    await uow.consumers.add(consumer)
    return ConsumerAdmitted(id=consumer.consumer_id)


@handles
async def rename_consumer(command: RenameConsumer, uow: ConsumerUnitOfWork) -> None:
    consumer = await uow.consumers.get(command.consumer_id)
    consumer.rename(command.name)


@handles
async def add_address(command: AddAddress, uow: ConsumerUnitOfWork) -> None:
    consumer = await uow.consumers.get(command.consumer_id)
    consumer.add_address(command.address_id, command.address)


@handles
async def update_address(command: UpdateAddress, uow: ConsumerUnitOfWork) -> None:
    consumer = await uow.consumers.get(command.consumer_id)
    consumer.update_address(command.address_id, command.address)


@handles
async def remove_address(command: RemoveAddress, uow: ConsumerUnitOfWork) -> None:
    consumer = await uow.consumers.get(command.consumer_id)
    consumer.remove_address(command.address_id)


@handles
async def erase_consumer(command: EraseConsumer, uow: ConsumerUnitOfWork) -> None:
    consumer = await uow.consumers.get(command.consumer_id)
    consumer.erase()


@handles
async def validate_order_by_consumer(command: ValidateOrderByConsumer, uow: ConsumerUnitOfWork) -> None:
    consumer = await uow.consumers.get(command.consumer_id)
    consumer.require_known()
