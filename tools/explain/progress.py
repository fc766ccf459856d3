"""How far an order has come, according to its messages."""

from dataclasses import dataclass, field
from datetime import datetime

from shared.messaging.envelope import Envelope
from tools.explain.message_words import data_of, name_of

_ORDER_STATES = {
    "OrderCreated": "ApprovalPending",
    "OrderApproved": "Approved",
    "OrderRejected": "Rejected",
    "OrderCancelling": "CancelPending",
    "OrderCancellingUndone": "Approved",
    "OrderCancelled": "Cancelled",
    "OrderProposedRevision": "RevisionPending",
    "OrderRevisingUndone": "Approved",
    "OrderRevised": "Approved",
}
_TICKET_STATES = {
    "CreateTicketReply": "CreatePending",
    "TicketCreated": "AwaitingAcceptance",
    "TicketCreateCancelled": "Cancelled",
    "TicketAccepted": "Accepted",
    "TicketPreparationStarted": "Preparing",
    "TicketReadyForPickup": "ReadyForPickup",
    "TicketPickedUp": "PickedUp",
    "TicketCancelling": "CancelPending",
    "TicketCancelled": "Cancelled",
    "TicketRevising": "RevisionPending",
}
_BACK_TO_BEFORE = {"TicketCancelUndone", "TicketReviseUndone", "TicketRevised"}
_DELIVERY_STATES = {
    "OrderCreated": "PENDING",
    "DeliveryScheduled": "SCHEDULED",
    "DeliveryPickedUp": "PICKED_UP",
    "DeliveryDelivered": "DELIVERED",
    "DeliveryCancelled": "CANCELLED",
}


@dataclass
class Progress:
    """How far an order, its ticket and its delivery have come, according to their messages; "" before the first one."""

    order: str = ""
    ticket: str = ""
    delivery: str = ""
    reason: str = ""
    created_at: datetime | None = None
    approved_at: datetime | None = None
    _ticket_before: str = field(default="", repr=False)

    def take(self, envelope: Envelope) -> bool:
        """Take the order's next message; return whether anything changed."""
        before = (self.order, self.ticket, self.delivery)
        name = name_of(envelope)
        self.order = _ORDER_STATES.get(name, self.order)
        if name in ("TicketCancelling", "TicketRevising"):
            self._ticket_before = self.ticket
        self.ticket = self._ticket_before if name in _BACK_TO_BEFORE else _TICKET_STATES.get(name, self.ticket)
        if name != "OrderCreated" or not self.delivery:
            self.delivery = _DELIVERY_STATES.get(name, self.delivery)
        if name == "OrderRejected":
            self.reason = str(data_of(envelope).get("reason", ""))
        if name == "OrderCreated":
            self.created_at = envelope.time
        if name == "OrderApproved":
            self.approved_at = envelope.time
        return before != (self.order, self.ticket, self.delivery)
