"""The order: every action in every state."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from kernel.values import LineItem, MenuItemId, Money
from order.contracts import (
    OrderApproved,
    OrderCancelled,
    OrderCancelling,
    OrderCancellingUndone,
    OrderCreated,
    OrderProposedRevision,
    OrderRejected,
    OrderRevised,
    OrderRevisingUndone,
)
from order.domain.errors import (
    DeliveryTimeIsInThePast,
    MenuItemNotFound,
    OrderStateDoesNotAllowAction,
    OrderTotalBelowMinimum,
    QuantityOutOfRange,
)
from order.domain.order import Order, OrderState
from order.tests.given import (
    CONSUMER,
    CURRY,
    DELIVER_AT,
    DELIVER_TO,
    LINE_ITEMS,
    NAAN,
    NOW,
    ORDER,
    RESTAURANT,
    TICKET,
    TOTAL,
    WATER,
    a_restaurant,
    an_order,
)
from shared.core.messages import Event
from shared.eventsourcing.snapshots import SnapshotFormat

S = OrderState
Action = Callable[[Order], None]

ACTIONS: dict[str, tuple[Action, OrderState, OrderState, Event]] = {
    "approve": (
        lambda order: order.approve(TICKET),
        S.APPROVAL_PENDING,
        S.APPROVED,
        OrderApproved(order_id=ORDER, ticket_id=TICKET),
    ),
    "reject": (
        lambda order: order.reject("why"),
        S.APPROVAL_PENDING,
        S.REJECTED,
        OrderRejected(order_id=ORDER, reason="why"),
    ),
    "begin_cancel": (Order.begin_cancel, S.APPROVED, S.CANCEL_PENDING, OrderCancelling(order_id=ORDER)),
    "undo_cancel": (
        lambda order: order.undo_cancel("why"),
        S.CANCEL_PENDING,
        S.APPROVED,
        OrderCancellingUndone(order_id=ORDER, reason="why"),
    ),
    "confirm_cancel": (Order.confirm_cancel, S.CANCEL_PENDING, S.CANCELLED, OrderCancelled(order_id=ORDER)),
    "begin_revise": (
        lambda order: order.begin_revise({CURRY: 1}),
        S.APPROVED,
        S.REVISION_PENDING,
        OrderProposedRevision(
            order_id=ORDER, current_order_total=TOTAL, new_order_total=Money(1500), revisions={CURRY: 1}
        ),
    ),
    "undo_revise": (
        lambda order: order.undo_revise("why"),
        S.REVISION_PENDING,
        S.APPROVED,
        OrderRevisingUndone(order_id=ORDER, reason="why"),
    ),
    "confirm_revise": (
        lambda order: order.confirm_revise({CURRY: 1}),
        S.REVISION_PENDING,
        S.APPROVED,
        OrderRevised(
            order_id=ORDER, current_order_total=TOTAL, new_order_total=Money(1500), revised_quantities={CURRY: 1}
        ),
    ),
}


@pytest.mark.parametrize("state", OrderState)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_each_state_allows(action: str, state: OrderState) -> None:
    act, allowed_in, leads_to, event = ACTIONS[action]
    order = an_order(state)
    order.take_recorded()
    if state is allowed_in:
        act(order)
        assert order.state is leads_to
        assert list(order.recorded) == [event]
    else:
        version = order.version
        with pytest.raises(OrderStateDoesNotAllowAction, match=r"^order state does not allow action$"):
            act(order)
        assert (order.state, order.version, list(order.recorded)) == (state, version, [])


def test_an_order_begins_with_the_event_that_it_was_placed() -> None:
    order = Order.place(ORDER, CONSUMER, a_restaurant(), {CURRY: 2, NAAN: 1}, DELIVER_AT, DELIVER_TO, NOW)
    assert (order.state, order.version) == (S.APPROVAL_PENDING, 1)
    assert list(order.recorded) == [
        OrderCreated(
            order_id=ORDER,
            consumer_id=CONSUMER,
            restaurant_id=RESTAURANT,
            restaurant_name="Ajanta",
            line_items=LINE_ITEMS,
            order_total=TOTAL,
            deliver_at=DELIVER_AT,
            deliver_to=DELIVER_TO,
        )
    ]


def test_a_delivery_time_may_be_five_minutes_old() -> None:
    def place(deliver_at: datetime) -> Order:
        return Order.place(ORDER, CONSUMER, a_restaurant(), {CURRY: 1}, deliver_at, DELIVER_TO, NOW)

    oldest = NOW - timedelta(minutes=5)
    assert place(oldest).state is S.APPROVAL_PENDING
    with pytest.raises(DeliveryTimeIsInThePast, match=r"^delivery time is in the past$"):
        place(oldest - timedelta(microseconds=1))


def test_line_items_have_the_menus_names_prices_and_order() -> None:
    order = an_order(S.APPROVAL_PENDING)
    assert order.line_items == LINE_ITEMS
    assert order.total == TOTAL
    assert (order.consumer_id, order.restaurant_id, order.ticket_id) == (CONSUMER, RESTAURANT, None)


@pytest.mark.parametrize(
    ("quantities", "error"),
    [
        ({MenuItemId("pizza"): 1}, MenuItemNotFound),
        ({CURRY: 1, MenuItemId("pizza"): 1}, MenuItemNotFound),
        ({CURRY: 0}, QuantityOutOfRange),
        ({CURRY: -1}, QuantityOutOfRange),
        ({CURRY: 2, NAAN: -1}, QuantityOutOfRange),
        ({}, OrderTotalBelowMinimum),
        ({WATER: 5}, OrderTotalBelowMinimum),
    ],
    ids=str,
)
def test_what_cannot_be_ordered(quantities: dict[MenuItemId, int], error: type[Exception]) -> None:
    with pytest.raises(error):
        Order.place(ORDER, CONSUMER, a_restaurant(), quantities, DELIVER_AT, DELIVER_TO, NOW)


@pytest.mark.parametrize(
    ("quantities", "error"),
    [
        ({MenuItemId("pizza"): 1}, MenuItemNotFound),
        ({WATER: 1}, MenuItemNotFound),
        ({CURRY: -1}, QuantityOutOfRange),
        ({CURRY: 0, NAAN: 0}, OrderTotalBelowMinimum),
    ],
    ids=str,
)
def test_what_cannot_be_revised(quantities: dict[MenuItemId, int], error: type[Exception]) -> None:
    order = an_order(S.APPROVED)
    with pytest.raises(error):
        order.begin_revise(quantities)
    assert order.state is S.APPROVED


def test_a_revision_changes_the_order_when_it_is_confirmed() -> None:
    order = an_order(S.APPROVED)
    order.begin_revise({CURRY: 5, NAAN: 0})
    assert (order.total, order.proposed_total, order.line_items) == (TOTAL, 6000, LINE_ITEMS)
    order.confirm_revise({CURRY: 5, NAAN: 0})
    assert order.line_items == (LineItem(menu_item_id=CURRY, name="Curry", price=Money(1200), quantity=5),)
    assert (order.total, order.proposed_quantities) == (6000, {})


def test_a_revision_that_is_undone_changes_nothing() -> None:
    order = an_order(S.REVISION_PENDING)
    order.undo_revise("why")
    assert (order.line_items, order.total, order.proposed_quantities) == (LINE_ITEMS, TOTAL, {})


def test_an_order_that_was_never_approved_has_no_ticket() -> None:
    assert an_order(S.APPROVED).ticket == TICKET
    with pytest.raises(OrderStateDoesNotAllowAction):
        _ = an_order(S.APPROVAL_PENDING).ticket


def test_a_rejected_order_says_why() -> None:
    assert an_order(S.REJECTED).rejection == "no"


@pytest.mark.parametrize("state", OrderState)
def test_a_snapshot_is_whole(state: OrderState) -> None:
    order = an_order(state)
    order.take_recorded()
    snapshots = SnapshotFormat.of(Order)
    restored = snapshots.restore(snapshots.take(order))
    assert restored.__dict__ == order.__dict__
