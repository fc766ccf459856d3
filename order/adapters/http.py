"""The order service's HTTP API."""

from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from kernel.values import ConsumerId, MenuItemId, OrderId, RestaurantId
from kernel.web import AddressBody
from order.application import queries
from order.application.commands import CancelOrder, CreateOrder, OrderStateReply, ReviseOrder
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.errors import (
    DeliveryTimeIsInThePast,
    MenuItemNotFound,
    OrderNotFound,
    OrderStateDoesNotAllowAction,
    OrderTotalBelowMinimum,
    RestaurantNotFound,
)
from shared.processing.command_queue import CommandQueue
from shared.unit_of_work.unit_of_work import Units
from shared.web.documents import AN_ID, example
from shared.web.parameters import (
    MAX_ENTRIES,
    Body,
    Few,
    IdAnswer,
    IdInPath,
    Moment,
    Name,
    Quantity,
    QuantityOrNone,
    UuidText,
)
from shared.web.problems import problems
from shared.web.routes import Routes

# pydantic documents what keys of the pattern lead to, and leaves all other keys open.
_NO_OTHER_KEYS: dict[str, JsonValue] = {"additionalProperties": False}


class NewOrder(Body):
    """What is ordered: quantities by the ids of the restaurant's menu."""

    consumer_id: UuidText
    restaurant_id: UuidText
    delivery_time: Moment = Field(description="Not more than 5 minutes in the past.", examples=["2040-01-02T18:30:00Z"])
    delivery_address: AddressBody
    line_items: Annotated[dict[Name, Quantity], Few] = Field(
        min_length=1, max_length=MAX_ENTRIES, examples=[{"chicken-vindaloo": 2}], json_schema_extra=_NO_OTHER_KEYS
    )


class Revision(Body):
    """Other quantities of what is ordered; 0 removes a line, lines that are not named stay."""

    revised_quantities: Annotated[dict[Name, QuantityOrNone], Few] = Field(
        min_length=1, max_length=MAX_ENTRIES, examples=[{"chicken-vindaloo": 1}], json_schema_extra=_NO_OTHER_KEYS
    )


AN_ORDER = {
    "order_id": AN_ID,
    "state": "Approved",
    "order_total": 2468,
    "consumer_id": "019a3c5d-1b20-7f43-8a6c-5e7d9f0b1a2c",
    "restaurant_id": "019a3c5c-77a0-7d10-b2c4-8f9e0d1c2b3a",
    "line_items": [{"menu_item_id": "chicken-vindaloo", "name": "Chicken Vindaloo", "price": 1234, "quantity": 2}],
    "ticket_id": "019a3c5e-8f64-7a3b-8c2d-1e0f9a8b7c6d",
    "rejection": "",
}


class StatusAnswer(BaseModel):
    """The order's state after the first step; the rest follows."""

    status: str = Field(examples=["CancelPending"])


def routes(commands: CommandQueue[OrderUnitOfWork], units: Units[OrderUnitOfWork]) -> Routes:
    """The routes of the API."""
    router = Routes(prefix="/api")

    @router.post(
        "/orders",
        status_code=201,
        tags=["orders"],
        responses=problems(
            RestaurantNotFound, MenuItemNotFound, OrderTotalBelowMinimum, DeliveryTimeIsInThePast, body=True
        ),
    )
    async def create_order(body: NewOrder) -> IdAnswer:
        """Takes an order. It is ApprovalPending until the consumer, the kitchen and the account have agreed."""
        command = CreateOrder(
            consumer_id=ConsumerId(body.consumer_id),
            restaurant_id=RestaurantId(body.restaurant_id),
            quantities={MenuItemId(id_): quantity for id_, quantity in body.line_items.items()},
            deliver_at=body.delivery_time,
            deliver_to=body.delivery_address.to_value(),
        )
        return IdAnswer(id=(await commands.execute(command)).id)

    @router.get("/orders/{id}", tags=["orders"], responses=problems(OrderNotFound) | example(200, AN_ORDER))
    async def get_order(id_: IdInPath) -> queries.OrderView:
        """The order as it is now."""
        async with units.begin() as uow:
            return await queries.get_order(OrderId(id_), uow)

    @router.put(
        "/orders/{id}/cancel",
        status_code=202,
        tags=["orders"],
        responses=problems(OrderNotFound, OrderStateDoesNotAllowAction),
    )
    async def cancel_order(id_: IdInPath) -> StatusAnswer:
        """Asks for an approved order to be cancelled. The kitchen may find that it is too late."""
        return _status(await commands.execute(CancelOrder(order_id=OrderId(id_))))

    @router.put(
        "/orders/{id}/revise",
        status_code=202,
        tags=["orders"],
        responses=problems(
            OrderNotFound,
            MenuItemNotFound,
            OrderStateDoesNotAllowAction,
            OrderTotalBelowMinimum,
            body=True,
        ),
    )
    async def revise_order(id_: IdInPath, body: Revision) -> StatusAnswer:
        """Asks for other quantities in an approved order. The kitchen may find that it is too late."""
        quantities = {MenuItemId(item): quantity for item, quantity in body.revised_quantities.items()}
        return _status(await commands.execute(ReviseOrder(order_id=OrderId(id_), revised_quantities=quantities)))

    @router.get("/restaurants/{id}", tags=["restaurants"], responses=problems(RestaurantNotFound))
    async def get_restaurant(id_: IdInPath) -> IdAnswer:
        """Whether this service knows the restaurant yet."""
        async with units.begin() as uow:
            return IdAnswer(id=await queries.get_restaurant(RestaurantId(id_), uow))

    return router


def _status(answer: OrderStateReply) -> StatusAnswer:
    return StatusAnswer(status=answer.status)
