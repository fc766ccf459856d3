"""The kitchen service's HTTP API."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from kernel.values import LineItem, OrderId, RestaurantId, TicketId
from kitchen.application import queries
from kitchen.application.commands import AcceptTicket, FinishPreparation, PickUpTicket, StartPreparation
from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.application.views import TicketView
from kitchen.domain.errors import (
    ReadyByIsInThePast,
    RestaurantNotFound,
    TicketNotFound,
    TicketStateDoesNotAllowAction,
)
from kitchen.domain.ticket import TicketStatus
from shared.processing.command_queue import CommandQueue
from shared.unit_of_work.unit_of_work import Units
from shared.web.documents import AN_ID, example
from shared.web.paging import DEFAULT_LIMIT, ID_PATTERN, Cursors, Limit, id_of_text, id_to_text
from shared.web.parameters import Body, IdAnswer, IdInPath, Moment, UuidText
from shared.web.problems import problems
from shared.web.routes import Routes

_cursors = Cursors[TicketId](ID_PATTERN, id_to_text, lambda text: TicketId(id_of_text(text)))


class Acceptance(Body):
    """Until when the dish will be ready."""

    ready_by: Moment = Field(description="Not in the past.", examples=["2040-01-02T18:00:00Z"])


class TicketAnswer(BaseModel):
    """A ticket."""

    id: TicketId
    order_id: OrderId
    restaurant_id: RestaurantId
    status: TicketStatus
    line_items: tuple[LineItem, ...]
    accepted_at: datetime | None
    ready_by: datetime | None

    @classmethod
    def of(cls, view: TicketView) -> "TicketAnswer":
        """Its view without what is of the database."""
        return cls.model_validate(view, from_attributes=True)


A_TICKET = {
    "id": AN_ID,
    "order_id": "019a3c5e-8e38-7b55-9d11-6a7b8c9d0e1f",
    "restaurant_id": "019a3c5c-77a0-7d10-b2c4-8f9e0d1c2b3a",
    "status": "Accepted",
    "line_items": [{"menu_item_id": "chicken-vindaloo", "name": "Chicken Vindaloo", "price": 1234, "quantity": 2}],
    "accepted_at": "2040-01-02T17:31:12.345678Z",
    "ready_by": "2040-01-02T18:00:00Z",
}


class TicketsAnswer(BaseModel):
    """A page of tickets, the newest first. `next` leads to the next page; it is "" on the last."""

    tickets: Sequence[TicketAnswer]
    next: str = Field(examples=[""])


def routes(commands: CommandQueue[KitchenUnitOfWork], units: Units[KitchenUnitOfWork]) -> Routes:
    """The routes of the API."""
    router = Routes(prefix="/api")
    refusals = problems(TicketNotFound, TicketStateDoesNotAllowAction)

    @router.get(
        "/tickets",
        tags=["tickets"],
        responses=problems(invalid="query.order_id: is not a UUID")
        | example(200, {"tickets": [A_TICKET], "next": _cursors.encode(TicketId(AN_ID))}),
    )
    async def find_tickets(
        before: Annotated[TicketId | None, _cursors.parameter],
        limit: Limit = DEFAULT_LIMIT,
        order_id: Annotated[UuidText | None, Query(description="Of this order.")] = None,
        restaurant_id: Annotated[UuidText | None, Query(description="For this restaurant.")] = None,
        status: Annotated[TicketStatus | None, Query(description="In this state now.")] = None,
    ) -> TicketsAnswer:
        """The tickets that fit every given criterion."""
        async with units.begin() as uow:
            page, following = await queries.find_tickets(
                uow,
                order_id=None if order_id is None else OrderId(order_id),
                restaurant_id=None if restaurant_id is None else RestaurantId(restaurant_id),
                status=status,
                before=before,
                limit=limit,
            )
        return TicketsAnswer(tickets=[TicketAnswer.of(view) for view in page], next=_cursors.encode(following))

    @router.get("/tickets/{id}", tags=["tickets"], responses=problems(TicketNotFound) | example(200, A_TICKET))
    async def get_ticket(id_: IdInPath) -> TicketAnswer:
        """The ticket as it is now."""
        async with units.begin() as uow:
            return TicketAnswer.of(await queries.get_ticket(TicketId(id_), uow))

    @router.post(
        "/tickets/{id}/accept",
        status_code=202,
        tags=["tickets"],
        responses=problems(TicketNotFound, TicketStateDoesNotAllowAction, ReadyByIsInThePast, body=True),
    )
    async def accept_ticket(id_: IdInPath, body: Acceptance) -> IdAnswer:
        """The restaurant will cook it."""
        await commands.execute(AcceptTicket(ticket_id=TicketId(id_), ready_by=body.ready_by))
        return IdAnswer(id=id_)

    @router.post("/tickets/{id}/preparing", status_code=202, tags=["tickets"], responses=refusals)
    async def start_preparation(id_: IdInPath) -> IdAnswer:
        """The kitchen has started: it is too late to cancel or revise."""
        await commands.execute(StartPreparation(ticket_id=TicketId(id_)))
        return IdAnswer(id=id_)

    @router.post("/tickets/{id}/ready", status_code=202, tags=["tickets"], responses=refusals)
    async def finish_preparation(id_: IdInPath) -> IdAnswer:
        """A courier can pick it up."""
        await commands.execute(FinishPreparation(ticket_id=TicketId(id_)))
        return IdAnswer(id=id_)

    @router.post("/tickets/{id}/picked-up", status_code=202, tags=["tickets"], responses=refusals)
    async def pick_up_ticket(id_: IdInPath) -> IdAnswer:
        """A courier has taken it."""
        await commands.execute(PickUpTicket(ticket_id=TicketId(id_)))
        return IdAnswer(id=id_)

    @router.get("/restaurants/{id}", tags=["restaurants"], responses=problems(RestaurantNotFound))
    async def get_restaurant(id_: IdInPath) -> IdAnswer:
        """Whether this service knows the restaurant yet."""
        async with units.begin() as uow:
            return IdAnswer(id=(await uow.restaurants.get(id_)).id)

    return router
