"""What other services may know and ask of tickets."""

from datetime import datetime
from typing import Any

from kernel.values import LineItem, MenuItemId, OrderId, RestaurantId, TicketId
from shared.core.messages import Command, Event, Reply, upcasts


class CreateTicket(Command["CreateTicketReply"], key="order_id"):
    order_id: OrderId
    restaurant_id: RestaurantId
    line_items: tuple[LineItem, ...]


class CreateTicketReply(Reply):
    ticket_id: TicketId


class ConfirmCreateTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId


class CancelCreateTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId


class BeginCancelTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId


class UndoCancelTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId


class ConfirmCancelTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId


class BeginReviseTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId
    revised_quantities: dict[MenuItemId, int]


class UndoReviseTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId


class ConfirmReviseTicket(Command, key="order_id"):
    order_id: OrderId
    ticket_id: TicketId
    revised_quantities: dict[MenuItemId, int]


class TicketCreated(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId
    restaurant_id: RestaurantId
    line_items: tuple[LineItem, ...]


class TicketCreateCancelled(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketAccepted(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId
    accepted_at: datetime
    ready_by: datetime


class TicketPreparationStarted(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketReadyForPickup(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketPickedUp(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketCancelling(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketCancelUndone(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketCancelled(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketRevising(Event, key="order_id", schema=2):
    ticket_id: TicketId
    order_id: OrderId
    revised_quantities: dict[MenuItemId, int]


@upcasts(TicketRevising, schema=1)
def _without_quantities(fields: dict[str, Any]) -> dict[str, Any]:
    """It did not say yet what the consumer wants. No default: whoever proposes a revision today has to say it."""
    return {**fields, "revised_quantities": {}}


class TicketReviseUndone(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId


class TicketRevised(Event, key="order_id"):
    ticket_id: TicketId
    order_id: OrderId
    revised_quantities: dict[MenuItemId, int]
