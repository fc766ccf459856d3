"""What sagas ask of the kitchen, and what it tells the others."""

from datetime import timedelta

import pytest

from kernel.values import Address, TicketId
from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.contracts import (
    BeginCancelTicket,
    BeginReviseTicket,
    CancelCreateTicket,
    ConfirmCancelTicket,
    ConfirmCreateTicket,
    ConfirmReviseTicket,
    CreateTicket,
    CreateTicketReply,
    TicketCreated,
    UndoCancelTicket,
    UndoReviseTicket,
)
from kitchen.domain.ticket import TicketStatus
from kitchen.tests.given import CURRY, LINE_ITEMS, NOBODY, ORDER, RESTAURANT, TICKET, a_ticket
from restaurant.contracts import RestaurantCreated
from shared.core.messages import AnyCommand, Done, Refused
from shared.core.policy import Policy
from shared.core.serialization import decode_message
from shared.messaging.envelope import Envelope
from shared.testing.system import MemorySystem

S = TicketStatus
QUANTITIES = {CURRY: 1}
CREATE = CreateTicket(order_id=ORDER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS)
HERE = Address(street1="1 Main Street", city="Oakland", state="CA", zip="94611")
CREATED = RestaurantCreated(restaurant_id=RESTAURANT, name="Ajanta", address=HERE, menu=())


def sent(system: MemorySystem) -> list[Envelope]:
    outbox = system.services["kitchen"].database.outbox
    return [Envelope.from_headers(publication.headers, publication.data) for publication in outbox]


def replies(system: MemorySystem) -> list[str]:
    return [message.type for message in sent(system) if message.kind == "reply"]


async def status(system: MemorySystem, ticket: str = TICKET) -> str:
    return str((await system.client("kitchen").get(f"/api/tickets/{ticket}")).json()["status"])


async def given_ticket(system: MemorySystem, in_status: TicketStatus) -> None:
    async with system.services["kitchen"].container.units().begin() as uow:
        assert isinstance(uow, KitchenUnitOfWork)
        await uow.tickets.add(a_ticket(in_status))


async def test_a_ticket_is_created_for_a_restaurant_that_is_known() -> None:
    async with MemorySystem(["kitchen"]) as system:
        await system.tell(CREATED)
        await system.tell(CREATE, reply_to="order")
        (reply,) = sent(system)
        answer = decode_message(reply.type, reply.data)
        assert isinstance(answer, CreateTicketReply)
        assert await status(system, answer.ticket_id) == "CreatePending"
        await system.tell(ConfirmCreateTicket(order_id=ORDER, ticket_id=answer.ticket_id), reply_to="order")
        assert sorted(message.type for message in sent(system)[1:]) == [TicketCreated.type_name, Done.type_name]


async def test_a_ticket_waits_for_its_restaurant_and_is_refused_without() -> None:
    async with MemorySystem(["kitchen"]) as system:
        await system.tell(CREATE, reply_to="order")
        assert replies(system) == []
        await system.tell(CREATED)
        await system.settle(timedelta(seconds=1))
        assert replies(system) == [CreateTicketReply.type_name]
    async with MemorySystem(["kitchen"]) as system:
        await system.tell(CREATE, reply_to="order")
        await system.settle(Policy().grace)
        (reply,) = sent(system)
        assert '"message":"restaurant not found"' in reply.data


@pytest.mark.parametrize(
    ("command", "before", "after"),
    [
        (ConfirmCreateTicket(order_id=ORDER, ticket_id=TICKET), S.CREATE_PENDING, S.AWAITING_ACCEPTANCE),
        (CancelCreateTicket(order_id=ORDER, ticket_id=TICKET), S.CREATE_PENDING, S.CANCELLED),
        (BeginCancelTicket(order_id=ORDER, ticket_id=TICKET), S.ACCEPTED, S.CANCEL_PENDING),
        (UndoCancelTicket(order_id=ORDER, ticket_id=TICKET), S.CANCEL_PENDING, S.AWAITING_ACCEPTANCE),
        (ConfirmCancelTicket(order_id=ORDER, ticket_id=TICKET), S.CANCEL_PENDING, S.CANCELLED),
        (
            BeginReviseTicket(order_id=ORDER, ticket_id=TICKET, revised_quantities=QUANTITIES),
            S.ACCEPTED,
            S.REVISION_PENDING,
        ),
        (UndoReviseTicket(order_id=ORDER, ticket_id=TICKET), S.REVISION_PENDING, S.AWAITING_ACCEPTANCE),
        (
            ConfirmReviseTicket(order_id=ORDER, ticket_id=TICKET, revised_quantities=QUANTITIES),
            S.REVISION_PENDING,
            S.AWAITING_ACCEPTANCE,
        ),
    ],
    ids=lambda value: getattr(value, "type_name", str(value)),
)
async def test_the_commands_of_sagas(command: AnyCommand, before: TicketStatus, after: TicketStatus) -> None:
    async with MemorySystem(["kitchen"]) as system:
        await given_ticket(system, before)
        await system.tell(command, reply_to="order")
        assert (await status(system), replies(system)) == (after, [Done.type_name])
    async with MemorySystem(["kitchen"]) as system:
        await given_ticket(system, S.PICKED_UP)
        await system.tell(command, reply_to="order")
        assert (await status(system), replies(system)) == ("PickedUp", [Refused.type_name])


async def test_a_ticket_that_is_not_known_is_waited_for_and_refused_in_the_end() -> None:
    async with MemorySystem(["kitchen"]) as system:
        await system.tell(ConfirmCreateTicket(order_id=ORDER, ticket_id=TicketId(NOBODY)), reply_to="order")
        assert replies(system) == []
        await system.settle(Policy().grace)
        assert replies(system) == [Refused.type_name]
