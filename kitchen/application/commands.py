"""The commands that restaurants and sagas can send to the kitchen service."""

from datetime import datetime

from kernel.values import RestaurantId, TicketId
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
    UndoCancelTicket,
    UndoReviseTicket,
)
from kitchen.domain.ticket import Ticket
from shared.core.ids import new_id
from shared.core.messages import Command
from shared.messaging.handlers import handles


class AcceptTicket(Command):
    ticket_id: TicketId
    ready_by: datetime


class StartPreparation(Command):
    ticket_id: TicketId


class FinishPreparation(Command):
    ticket_id: TicketId


class PickUpTicket(Command):
    ticket_id: TicketId


@handles
async def accept_ticket(command: AcceptTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.accept(command.ready_by, uow.clock())


@handles
async def start_preparation(command: StartPreparation, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.start_preparation()


@handles
async def finish_preparation(command: FinishPreparation, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.finish_preparation()


@handles
async def pick_up_ticket(command: PickUpTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.pick_up()


@handles
async def create_ticket(command: CreateTicket, uow: KitchenUnitOfWork) -> CreateTicketReply:
    restaurant = await uow.restaurants.get(command.restaurant_id)
    ticket = Ticket.create(TicketId(new_id()), command.order_id, RestaurantId(restaurant.id), command.line_items)
    await uow.tickets.add(ticket)
    return CreateTicketReply(ticket_id=ticket.ticket_id)


@handles
async def confirm_create_ticket(command: ConfirmCreateTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.confirm_create()


@handles
async def cancel_create_ticket(command: CancelCreateTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.cancel_create()


@handles
async def begin_cancel_ticket(command: BeginCancelTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.begin_cancel()


@handles
async def undo_cancel_ticket(command: UndoCancelTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.undo_cancel()


@handles
async def confirm_cancel_ticket(command: ConfirmCancelTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.confirm_cancel()


@handles
async def begin_revise_ticket(command: BeginReviseTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.begin_revise(command.revised_quantities)


@handles
async def undo_revise_ticket(command: UndoReviseTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.undo_revise()


@handles
async def confirm_revise_ticket(command: ConfirmReviseTicket, uow: KitchenUnitOfWork) -> None:
    ticket = await uow.tickets.get(command.ticket_id)
    ticket.confirm_revise(command.revised_quantities)
