"""The ticket: every action in every status."""

from collections.abc import Callable
from datetime import timedelta

import pytest

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
from kitchen.domain.ticket import Ticket, TicketCreatePending, TicketStatus
from kitchen.tests.given import CURRY, LINE_ITEMS, NAAN, NOON, ORDER, READY_BY, RESTAURANT, TICKET, a_ticket
from shared.core.messages import Event
from shared.eventsourcing.snapshots import SnapshotFormat

S = TicketStatus
Action = Callable[[Ticket], None]

ACTIONS: dict[str, tuple[Action, dict[TicketStatus, TicketStatus], Event]] = {
    "confirm_create": (
        Ticket.confirm_create,
        {S.CREATE_PENDING: S.AWAITING_ACCEPTANCE},
        TicketCreated(ticket_id=TICKET, order_id=ORDER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS),
    ),
    "cancel_create": (
        Ticket.cancel_create,
        {S.CREATE_PENDING: S.CANCELLED},
        TicketCreateCancelled(ticket_id=TICKET, order_id=ORDER),
    ),
    "accept": (
        lambda ticket: ticket.accept(READY_BY, NOON),
        {S.AWAITING_ACCEPTANCE: S.ACCEPTED},
        TicketAccepted(ticket_id=TICKET, order_id=ORDER, accepted_at=NOON, ready_by=READY_BY),
    ),
    "start_preparation": (
        Ticket.start_preparation,
        {S.ACCEPTED: S.PREPARING},
        TicketPreparationStarted(ticket_id=TICKET, order_id=ORDER),
    ),
    "finish_preparation": (
        Ticket.finish_preparation,
        {S.PREPARING: S.READY_FOR_PICKUP},
        TicketReadyForPickup(ticket_id=TICKET, order_id=ORDER),
    ),
    "pick_up": (Ticket.pick_up, {S.READY_FOR_PICKUP: S.PICKED_UP}, TicketPickedUp(ticket_id=TICKET, order_id=ORDER)),
    "begin_cancel": (
        Ticket.begin_cancel,
        {S.AWAITING_ACCEPTANCE: S.CANCEL_PENDING, S.ACCEPTED: S.CANCEL_PENDING},
        TicketCancelling(ticket_id=TICKET, order_id=ORDER),
    ),
    "undo_cancel": (
        Ticket.undo_cancel,
        {S.CANCEL_PENDING: S.AWAITING_ACCEPTANCE},
        TicketCancelUndone(ticket_id=TICKET, order_id=ORDER),
    ),
    "confirm_cancel": (
        Ticket.confirm_cancel,
        {S.CANCEL_PENDING: S.CANCELLED},
        TicketCancelled(ticket_id=TICKET, order_id=ORDER),
    ),
    "begin_revise": (
        lambda ticket: ticket.begin_revise({CURRY: 1}),
        {S.AWAITING_ACCEPTANCE: S.REVISION_PENDING, S.ACCEPTED: S.REVISION_PENDING},
        TicketRevising(ticket_id=TICKET, order_id=ORDER, revised_quantities={CURRY: 1}),
    ),
    "undo_revise": (
        Ticket.undo_revise,
        {S.REVISION_PENDING: S.AWAITING_ACCEPTANCE},
        TicketReviseUndone(ticket_id=TICKET, order_id=ORDER),
    ),
    "confirm_revise": (
        lambda ticket: ticket.confirm_revise({CURRY: 1}),
        {S.REVISION_PENDING: S.AWAITING_ACCEPTANCE},
        TicketRevised(ticket_id=TICKET, order_id=ORDER, revised_quantities={CURRY: 1}),
    ),
}


@pytest.mark.parametrize("status", TicketStatus)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_each_status_allows(action: str, status: TicketStatus) -> None:
    act, ways, event = ACTIONS[action]
    ticket = a_ticket(status)
    ticket.take_recorded()
    if status in ways:
        act(ticket)
        assert ticket.status is ways[status]
        assert list(ticket.recorded) == [event]
    else:
        version = ticket.version
        with pytest.raises(TicketStateDoesNotAllowAction, match=r"^ticket state does not allow action$"):
            act(ticket)
        assert (ticket.status, ticket.version, list(ticket.recorded)) == (status, version, [])


@pytest.mark.parametrize("before", [S.AWAITING_ACCEPTANCE, S.ACCEPTED])
def test_a_ticket_goes_back_to_where_it_was(before: TicketStatus) -> None:
    undone = a_ticket(S.CANCEL_PENDING, before)
    undone.undo_cancel()
    not_revised = a_ticket(S.REVISION_PENDING, before)
    not_revised.undo_revise()
    revised = a_ticket(S.REVISION_PENDING, before)
    revised.confirm_revise({CURRY: 1})
    assert [ticket.status for ticket in (undone, not_revised, revised)] == [before] * 3


def test_a_ticket_begins_with_the_event_that_it_was_created() -> None:
    ticket = Ticket.create(TICKET, ORDER, RESTAURANT, LINE_ITEMS)
    assert (ticket.status, ticket.version) == (S.CREATE_PENDING, 1)
    assert list(ticket.recorded) == [
        TicketCreatePending(ticket_id=TICKET, order_id=ORDER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS)
    ]


def test_a_revision_changes_the_line_items_when_it_is_confirmed() -> None:
    ticket = a_ticket(S.REVISION_PENDING)
    assert ticket.line_items == LINE_ITEMS
    ticket.confirm_revise({CURRY: 5, NAAN: 0})
    assert [(item.menu_item_id, item.quantity) for item in ticket.line_items] == [(CURRY, 5)]


def test_a_ticket_is_not_accepted_for_a_time_that_is_over() -> None:
    ticket = a_ticket(S.AWAITING_ACCEPTANCE)
    with pytest.raises(ReadyByIsInThePast, match=r"^readyBy is in the past$"):
        ticket.accept(NOON - timedelta(microseconds=1), NOON)
    assert (ticket.status, ticket.ready_by) == (S.AWAITING_ACCEPTANCE, None)
    ticket.accept(NOON, NOON)
    assert (ticket.accepted_at, ticket.ready_by) == (NOON, NOON)


def test_nobody_else_hears_of_a_ticket_before_its_order_stands() -> None:
    assert not TicketCreatePending.is_public
    assert all(type(event).is_public for _, _, event in ACTIONS.values())


@pytest.mark.parametrize("status", TicketStatus)
@pytest.mark.parametrize("before", [S.AWAITING_ACCEPTANCE, S.ACCEPTED])
def test_a_snapshot_is_whole(status: TicketStatus, before: TicketStatus) -> None:
    ticket = a_ticket(status, before)
    ticket.take_recorded()
    snapshots = SnapshotFormat.of(Ticket)
    assert snapshots.restore(snapshots.take(ticket)).__dict__ == ticket.__dict__
