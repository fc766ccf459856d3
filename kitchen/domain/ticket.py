"""The ticket: what a restaurant's kitchen has to do for an order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self, assert_never

from kernel.values import LineItem, MenuItemId, OrderId, RestaurantId, TicketId, with_quantities
from kitchen.contracts import (
    TicketAccepted,
    TicketCancelled,
    TicketCancelling,
    TicketCancelUndone,
    TicketCreateCancelled,
    TicketCreated,
    TicketPickedUp,
    TicketPreparationStarted,
    TicketReadyForPickup,
    TicketRevised,
    TicketReviseUndone,
    TicketRevising,
)
from kitchen.domain.errors import ReadyByIsInThePast, TicketStateDoesNotAllowAction
from shared.core.messages import Event
from shared.eventsourcing.aggregate import Aggregate


class TicketCreatePending(Event, key="order_id"):
    """Private: nobody may start on a ticket before its creation is confirmed."""

    ticket_id: TicketId
    order_id: OrderId
    restaurant_id: RestaurantId
    line_items: tuple[LineItem, ...]


TicketEvent = (
    TicketCreatePending
    | TicketCreated
    | TicketCreateCancelled
    | TicketAccepted
    | TicketPreparationStarted
    | TicketReadyForPickup
    | TicketPickedUp
    | TicketCancelling
    | TicketCancelUndone
    | TicketCancelled
    | TicketRevising
    | TicketReviseUndone
    | TicketRevised
)


class TicketStatus(StrEnum):
    """Where a ticket is in its life."""

    CREATE_PENDING = "CreatePending"
    AWAITING_ACCEPTANCE = "AwaitingAcceptance"
    ACCEPTED = "Accepted"
    PREPARING = "Preparing"
    READY_FOR_PICKUP = "ReadyForPickup"
    PICKED_UP = "PickedUp"
    CANCEL_PENDING = "CancelPending"
    CANCELLED = "Cancelled"
    REVISION_PENDING = "RevisionPending"


_CHANGEABLE = (TicketStatus.AWAITING_ACCEPTANCE, TicketStatus.ACCEPTED)
"""Before the kitchen starts, an order can still be cancelled or revised."""


@dataclass(eq=False)
class Ticket(Aggregate[TicketEvent]):
    """A ticket. `status_before` is the status it returns to if a cancellation or a revision is undone."""

    status: TicketStatus = field(init=False)
    status_before: TicketStatus = field(init=False)
    order_id: OrderId = field(init=False)
    restaurant_id: RestaurantId = field(init=False)
    line_items: tuple[LineItem, ...] = field(init=False)
    accepted_at: datetime | None = None
    ready_by: datetime | None = None

    @property
    def ticket_id(self) -> TicketId:
        """The ticket's id."""
        return TicketId(self.id)

    @classmethod
    def create(
        cls, id_: TicketId, order_id: OrderId, restaurant_id: RestaurantId, line_items: tuple[LineItem, ...]
    ) -> Self:
        """Creates a ticket for an order that is not approved yet."""
        ticket = cls(id=id_)
        ticket.record(
            TicketCreatePending(
                ticket_id=ticket.ticket_id, order_id=order_id, restaurant_id=restaurant_id, line_items=line_items
            )
        )
        return ticket

    def confirm_create(self) -> None:
        """Confirms the creation: the order was approved."""
        self._require(TicketStatus.CREATE_PENDING)
        self.record(
            TicketCreated(
                ticket_id=self.ticket_id,
                order_id=self.order_id,
                restaurant_id=self.restaurant_id,
                line_items=self.line_items,
            )
        )

    def cancel_create(self) -> None:
        """Cancels the creation: the order was rejected."""
        self._require(TicketStatus.CREATE_PENDING)
        self.record(TicketCreateCancelled(ticket_id=self.ticket_id, order_id=self.order_id))

    def accept(self, ready_by: datetime, now: datetime) -> None:
        """Accepts the ticket: the restaurant will cook, and says when the dishes will be ready."""
        self._require(TicketStatus.AWAITING_ACCEPTANCE)
        if ready_by < now:
            raise ReadyByIsInThePast
        self.record(
            TicketAccepted(ticket_id=self.ticket_id, order_id=self.order_id, accepted_at=now, ready_by=ready_by)
        )

    def start_preparation(self) -> None:
        """Records that the kitchen has begun to cook: it is too late to cancel or revise."""
        self._require(TicketStatus.ACCEPTED)
        self.record(TicketPreparationStarted(ticket_id=self.ticket_id, order_id=self.order_id))

    def finish_preparation(self) -> None:
        """Records that the dishes are ready for the courier."""
        self._require(TicketStatus.PREPARING)
        self.record(TicketReadyForPickup(ticket_id=self.ticket_id, order_id=self.order_id))

    def pick_up(self) -> None:
        """Records that the dishes have left the restaurant."""
        self._require(TicketStatus.READY_FOR_PICKUP)
        self.record(TicketPickedUp(ticket_id=self.ticket_id, order_id=self.order_id))

    def begin_cancel(self) -> None:
        """Begins a cancellation that the consumer has asked for."""
        self._require(*_CHANGEABLE)
        self.record(TicketCancelling(ticket_id=self.ticket_id, order_id=self.order_id))

    def undo_cancel(self) -> None:
        """Undoes the cancellation: the ticket remains valid."""
        self._require(TicketStatus.CANCEL_PENDING)
        self.record(TicketCancelUndone(ticket_id=self.ticket_id, order_id=self.order_id))

    def confirm_cancel(self) -> None:
        """Confirms the cancellation: the kitchen will not cook."""
        self._require(TicketStatus.CANCEL_PENDING)
        self.record(TicketCancelled(ticket_id=self.ticket_id, order_id=self.order_id))

    def begin_revise(self, revised_quantities: Mapping[MenuItemId, int]) -> None:
        """Begins a revision: the consumer wants other quantities."""
        self._require(*_CHANGEABLE)
        self.record(
            TicketRevising(
                ticket_id=self.ticket_id, order_id=self.order_id, revised_quantities=dict(revised_quantities)
            )
        )

    def undo_revise(self) -> None:
        """Undoes the revision: the quantities stay as they were."""
        self._require(TicketStatus.REVISION_PENDING)
        self.record(TicketReviseUndone(ticket_id=self.ticket_id, order_id=self.order_id))

    def confirm_revise(self, revised_quantities: Mapping[MenuItemId, int]) -> None:
        """Confirms the revision: the kitchen cooks the new quantities."""
        self._require(TicketStatus.REVISION_PENDING)
        self.record(
            TicketRevised(ticket_id=self.ticket_id, order_id=self.order_id, revised_quantities=dict(revised_quantities))
        )

    def apply(self, event: TicketEvent) -> None:
        """Changes the fields as the event says, without decisions or refusals."""
        match event:
            case TicketCreatePending():
                self.status = self.status_before = TicketStatus.CREATE_PENDING
                self.order_id, self.restaurant_id = event.order_id, event.restaurant_id
                self.line_items = event.line_items
            case TicketCreated():
                self.status = TicketStatus.AWAITING_ACCEPTANCE
            case TicketCreateCancelled() | TicketCancelled():
                self.status = TicketStatus.CANCELLED
            case TicketAccepted():
                self.status = TicketStatus.ACCEPTED
                self.accepted_at, self.ready_by = event.accepted_at, event.ready_by
            case TicketPreparationStarted():
                self.status = TicketStatus.PREPARING
            case TicketReadyForPickup():
                self.status = TicketStatus.READY_FOR_PICKUP
            case TicketPickedUp():
                self.status = TicketStatus.PICKED_UP
            case TicketCancelling():
                self.status_before, self.status = self.status, TicketStatus.CANCEL_PENDING
            case TicketRevising():
                self.status_before, self.status = self.status, TicketStatus.REVISION_PENDING
            case TicketCancelUndone() | TicketReviseUndone():
                self.status = self.status_before
            case TicketRevised():
                self.status = self.status_before
                self.line_items = with_quantities(self.line_items, event.revised_quantities)
            case _:
                assert_never(event)

    def _require(self, *allowed: TicketStatus) -> None:
        if self.status not in allowed:
            raise TicketStateDoesNotAllowAction
