"""The consumer service's HTTP API."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from consumer.application import queries
from consumer.application.commands import (
    AddAddress,
    EraseConsumer,
    RegisterConsumer,
    RemoveAddress,
    RenameConsumer,
    UpdateAddress,
)
from consumer.application.unit_of_work import ConsumerUnitOfWork
from consumer.domain.errors import (
    AddressAlreadyExists,
    AddressNotFound,
    ConsumerNotFound,
    ConsumerWithoutName,
    TooManyAddresses,
)
from kernel.values import Address, ConsumerId
from kernel.web import AN_ADDRESS, AddressBody
from shared.processing.command_queue import CommandQueue
from shared.unit_of_work.unit_of_work import Units
from shared.web.documents import AN_ID, example
from shared.web.parameters import Body, IdAnswer, IdInPath, Name, Text
from shared.web.problems import problems
from shared.web.routes import Routes

Label = Annotated[Name, Path(alias="address_id", description="The label that the consumer gave the address.")]


def _name_is_required(schema: dict[str, Any]) -> None:
    schema["required"] = ["name"]
    name = schema["properties"]["name"]
    del name["default"]
    name["pattern"] = r"^[^\x00]*[^\x00\s\x1c-\x1f\x85][^\x00]*$"  # what `str.strip` would leave something of


class NamedConsumer(Body):
    """A consumer's name. One that is missing is refused by the domain, which has a text for it."""

    name: Text = Field("", examples=["Ada Lovelace"])

    model_config = ConfigDict(json_schema_extra=_name_is_required)


class NewAddress(Body):
    """An address and the label that it is to have."""

    address_id: Name = Field(examples=["home"])
    address: AddressBody


class ChangedAddress(Body):
    """What is under the label from now on."""

    address: AddressBody


A_CONSUMER = {"consumer_id": AN_ID, "name": "Ada Lovelace", "addresses": {"home": AN_ADDRESS}}


class AddressIdAnswer(BaseModel):
    """The label of the address."""

    address_id: str = Field(examples=["home"])


def routes(commands: CommandQueue[ConsumerUnitOfWork], units: Units[ConsumerUnitOfWork]) -> Routes:
    """The routes of the API."""
    router = Routes(prefix="/api", tags=["consumers"])

    @router.post("/consumers", status_code=201, responses=problems(ConsumerWithoutName, body=True))
    async def register_consumer(body: NamedConsumer) -> IdAnswer:
        """Registers a consumer. An account follows shortly."""
        return IdAnswer(id=(await commands.execute(RegisterConsumer(name=body.name))).id)

    @router.get("/consumers/{id}", responses=problems(ConsumerNotFound) | example(200, A_CONSUMER))
    async def get_consumer(id_: IdInPath) -> queries.ConsumerView:
        """The consumer with all addresses."""
        async with units.begin() as uow:
            return await queries.get_consumer(ConsumerId(id_), uow)

    @router.put("/consumers/{id}", responses=problems(ConsumerNotFound, ConsumerWithoutName, body=True))
    async def update_consumer(id_: IdInPath, body: NamedConsumer) -> IdAnswer:
        """Gives the consumer another name."""
        await commands.execute(RenameConsumer(consumer_id=ConsumerId(id_), name=body.name))
        return IdAnswer(id=id_)

    @router.put("/consumers/{id}/rename", responses=problems(ConsumerNotFound, ConsumerWithoutName, body=True))
    async def rename_consumer(id_: IdInPath, body: NamedConsumer) -> IdAnswer:
        """Gives the consumer another name."""
        return await update_consumer(id_, body)

    @router.delete("/consumers/{id}", status_code=204, responses=problems(ConsumerNotFound))
    async def erase_consumer(id_: IdInPath) -> None:
        """Forgets the consumer's name and addresses, here and wherever they were told. It can't be taken back.

        Orders under way go on; new ones are refused. A consumer who was erased before is erased: that is 204 too.
        """
        await commands.execute(EraseConsumer(consumer_id=ConsumerId(id_)))

    @router.post(
        "/consumers/{id}/addresses",
        status_code=201,
        responses=problems(ConsumerNotFound, AddressAlreadyExists, TooManyAddresses, body=True),
    )
    async def add_address(id_: IdInPath, body: NewAddress) -> AddressIdAnswer:
        """Adds an address under a new label."""
        await commands.execute(
            AddAddress(consumer_id=ConsumerId(id_), address_id=body.address_id, address=body.address.to_value())
        )
        return AddressIdAnswer(address_id=body.address_id)

    @router.get(
        "/consumers/{id}/addresses/{address_id:text}",  # a label may hold slashes and line breaks
        responses=problems(ConsumerNotFound, AddressNotFound) | example(200, AN_ADDRESS),
    )
    async def get_address(id_: IdInPath, address_id: Label) -> Address:
        """The address under a label."""
        async with units.begin() as uow:
            return await queries.get_address(ConsumerId(id_), address_id, uow)

    @router.put(
        "/consumers/{id}/addresses/{address_id:text}",
        responses=problems(ConsumerNotFound, AddressNotFound, body=True),
    )
    async def update_address(id_: IdInPath, address_id: Label, body: ChangedAddress) -> AddressIdAnswer:
        """Replaces the address under a label."""
        await commands.execute(
            UpdateAddress(consumer_id=ConsumerId(id_), address_id=address_id, address=body.address.to_value())
        )
        return AddressIdAnswer(address_id=address_id)

    @router.delete(
        "/consumers/{id}/addresses/{address_id:text}",
        status_code=204,
        responses=problems(ConsumerNotFound, AddressNotFound),
    )
    async def remove_address(id_: IdInPath, address_id: Label) -> None:
        """Removes the address under a label."""
        await commands.execute(RemoveAddress(consumer_id=ConsumerId(id_), address_id=address_id))

    return router
