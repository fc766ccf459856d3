"""The three sagas as stories: forward, refused at each step, and tried again behind the pivot."""

from collections.abc import Awaitable, Callable

import pytest

from accounting.contracts import AuthorizeOrder, ReverseAuthorizeOrder, ReviseAuthorizeOrder
from consumer.contracts import ValidateOrderByConsumer
from kernel.values import MenuItemId, Money
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
from order.application.sagas.cancel_order import CancelOrderSaga
from order.application.sagas.create_order import CreateOrderSaga
from order.application.sagas.revise_order import ReviseOrderSaga
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.errors import MenuItemNotFound, OrderStateDoesNotAllowAction
from order.domain.order import Order, OrderState
from order.tests.given import CONSUMER, CURRY, LINE_ITEMS, NAAN, ORDER, RESTAURANT, TICKET, TOTAL, in_memory, stored
from shared.adapters.memory.database import MemoryDatabase
from shared.core.messages import AnyCommand, Done
from shared.core.policy import Policy
from shared.saga.saga import Saga
from shared.testing.sagas import SagaTest

Story = SagaTest[OrderUnitOfWork]
S = OrderState


def story(state: OrderState) -> Story:
    async def given(uow: OrderUnitOfWork) -> None:
        await stored(uow, state)

    return SagaTest(in_memory, MemoryDatabase()).given(given)


def the_order(state: OrderState, check: Callable[[Order], bool] = lambda _: True) -> Callable[..., Awaitable[None]]:
    async def look(uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(ORDER)
        assert order.state is state
        assert check(order)

    return look


# --- creating an order

CREATE = CreateOrderSaga(
    order_id=ORDER, consumer_id=CONSUMER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS, order_total=TOTAL
)
VALIDATE = ValidateOrderByConsumer(consumer_id=CONSUMER, order_id=ORDER, order_total=TOTAL)
CREATE_TICKET = CreateTicket(order_id=ORDER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS)
TICKET_CREATED = CreateTicketReply(ticket_id=TICKET)
AUTHORIZE = AuthorizeOrder(consumer_id=CONSUMER, order_id=ORDER, order_total=TOTAL)
CONFIRM_TICKET = ConfirmCreateTicket(order_id=ORDER, ticket_id=TICKET)
CANCEL_TICKET = CancelCreateTicket(order_id=ORDER, ticket_id=TICKET)


def authorized() -> Story:
    told = story(S.APPROVAL_PENDING).start(CREATE).expect(VALIDATE).reply().expect(CREATE_TICKET)
    return told.reply(TICKET_CREATED).expect(AUTHORIZE).reply()


def test_an_order_is_created() -> None:
    told = authorized().then(the_order(S.APPROVAL_PENDING)).expect(CONFIRM_TICKET).reply()
    told.expect_completed().then(the_order(S.APPROVED, lambda order: order.ticket_id == TICKET))


def test_an_order_is_rejected_that_its_consumer_may_not_make() -> None:
    told = story(S.APPROVAL_PENDING).start(CREATE).expect(VALIDATE).refuse("consumer not found")
    told.expect_undone().then(the_order(S.REJECTED, lambda order: order.rejection == "consumer not found"))


def test_an_order_is_rejected_that_the_kitchen_refuses() -> None:
    told = story(S.APPROVAL_PENDING).start(CREATE).expect(VALIDATE).reply().expect(CREATE_TICKET)
    told.refuse("restaurant not found").expect_undone()
    told.then(the_order(S.REJECTED, lambda order: order.rejection == "restaurant not found"))


def test_an_order_is_rejected_that_is_not_authorized_once_its_ticket_is_cancelled() -> None:
    told = story(S.APPROVAL_PENDING).start(CREATE).expect(VALIDATE).reply().expect(CREATE_TICKET)
    told = told.reply(TICKET_CREATED).expect(AUTHORIZE).refuse("account is disabled")
    told = told.expect(CANCEL_TICKET).then(the_order(S.APPROVAL_PENDING)).reply()
    told.expect_undone().then(the_order(S.REJECTED, lambda order: order.rejection == "account is disabled"))


def test_an_authorized_order_is_approved_in_the_end() -> None:
    told = authorized()
    for _ in range(3):
        told.expect(CONFIRM_TICKET).refuse("not now").expect_pause().until_due()
    told.expect(CONFIRM_TICKET).reply().expect_completed().then(the_order(S.APPROVED))


# --- cancelling one

CANCEL = CancelOrderSaga(order_id=ORDER, consumer_id=CONSUMER, ticket_id=TICKET, order_total=TOTAL)
BEGIN_CANCEL = BeginCancelTicket(order_id=ORDER, ticket_id=TICKET)
REVERSE = ReverseAuthorizeOrder(consumer_id=CONSUMER, order_id=ORDER, order_total=TOTAL)
CONFIRM_CANCEL = ConfirmCancelTicket(order_id=ORDER, ticket_id=TICKET)
UNDO_CANCEL = UndoCancelTicket(order_id=ORDER, ticket_id=TICKET)


def reversed_authorization() -> Story:
    return story(S.APPROVED).start(CANCEL).expect(BEGIN_CANCEL).reply().expect(REVERSE).reply()


def test_an_order_is_cancelled() -> None:
    told = story(S.APPROVED).start(CANCEL).then(the_order(S.CANCEL_PENDING)).expect(BEGIN_CANCEL).reply()
    told = told.expect(REVERSE).reply().expect(CONFIRM_CANCEL).then(the_order(S.CANCEL_PENDING)).reply()
    told.expect_completed().then(the_order(S.CANCELLED))


def test_a_cancellation_that_comes_too_late_for_the_kitchen_is_undone() -> None:
    told = story(S.APPROVED).start(CANCEL).expect(BEGIN_CANCEL).refuse("ticket state does not allow action")
    told.expect_undone().then(the_order(S.APPROVED))


def test_a_cancellation_whose_money_does_not_come_back_is_undone_in_reverse() -> None:
    told = story(S.APPROVED).start(CANCEL).expect(BEGIN_CANCEL).reply().expect(REVERSE).refuse("account is disabled")
    told.expect(UNDO_CANCEL).then(the_order(S.CANCEL_PENDING)).reply().expect_undone().then(the_order(S.APPROVED))


def test_once_the_money_is_back_the_order_is_cancelled_in_the_end() -> None:
    told = reversed_authorization()
    for _ in range(3):
        told.expect(CONFIRM_CANCEL).refuse("not now").expect_pause().until_due()
    told.expect(CONFIRM_CANCEL).reply().expect_completed().then(the_order(S.CANCELLED))


@pytest.mark.parametrize("state", [S.APPROVAL_PENDING, S.REJECTED, S.CANCEL_PENDING, S.CANCELLED, S.REVISION_PENDING])
def test_only_an_approved_order_can_be_cancelled_or_revised(state: OrderState) -> None:
    for saga in (CANCEL, REVISE):
        told = story(state)
        with pytest.raises(OrderStateDoesNotAllowAction):
            told.start(saga)
        told.expect_nothing().then(the_order(state))


# --- revising one

QUANTITIES = {CURRY: 1, NAAN: 0}
REVISE = ReviseOrderSaga(
    order_id=ORDER, consumer_id=CONSUMER, ticket_id=TICKET, current_order_total=TOTAL, revised_quantities=QUANTITIES
)
BEGIN_REVISE = BeginReviseTicket(order_id=ORDER, ticket_id=TICKET, revised_quantities=QUANTITIES)
REVISE_AUTHORIZATION = ReviseAuthorizeOrder(
    consumer_id=CONSUMER, order_id=ORDER, current_order_total=TOTAL, order_total=Money(1200)
)
CONFIRM_REVISE = ConfirmReviseTicket(order_id=ORDER, ticket_id=TICKET, revised_quantities=QUANTITIES)
UNDO_REVISE = UndoReviseTicket(order_id=ORDER, ticket_id=TICKET)


def unchanged(order: Order) -> bool:
    return order.line_items == LINE_ITEMS and order.proposed_quantities == {}


def test_an_order_is_revised() -> None:
    told = story(S.APPROVED).start(REVISE).then(the_order(S.REVISION_PENDING)).expect(BEGIN_REVISE).reply()
    told = told.expect(REVISE_AUTHORIZATION).reply().expect(CONFIRM_REVISE)
    told = told.then(the_order(S.REVISION_PENDING, lambda order: order.total == TOTAL)).reply()
    told.expect_completed().then(the_order(S.APPROVED, lambda order: order.total == 1200))


def test_a_revision_that_comes_too_late_for_the_kitchen_is_undone() -> None:
    told = story(S.APPROVED).start(REVISE).expect(BEGIN_REVISE).refuse("ticket state does not allow action")
    told.expect_undone().then(the_order(S.APPROVED, unchanged))


def test_a_revision_that_is_not_authorized_is_undone_in_reverse() -> None:
    told = story(S.APPROVED).start(REVISE).expect(BEGIN_REVISE).reply()
    told = told.expect(REVISE_AUTHORIZATION).refuse("account is disabled").expect(UNDO_REVISE)
    told.then(the_order(S.REVISION_PENDING)).reply().expect_undone().then(the_order(S.APPROVED, unchanged))


def test_once_it_is_authorized_the_order_is_revised_in_the_end() -> None:
    told = story(S.APPROVED).start(REVISE).expect(BEGIN_REVISE).reply().expect(REVISE_AUTHORIZATION).reply()
    for _ in range(3):
        told.expect(CONFIRM_REVISE).refuse("not now").expect_pause().until_due()
    told.expect(CONFIRM_REVISE).reply().expect_completed().then(
        the_order(S.APPROVED, lambda order: order.total == 1200)
    )


def test_a_revision_of_what_was_not_ordered_begins_nothing() -> None:
    told = story(S.APPROVED)
    saga = ReviseOrderSaga(
        order_id=ORDER,
        consumer_id=CONSUMER,
        ticket_id=TICKET,
        current_order_total=TOTAL,
        revised_quantities={MenuItemId("pizza"): 1},
    )
    with pytest.raises(MenuItemNotFound):
        told.start(saga)
    told.expect_nothing().then(the_order(S.APPROVED, unchanged))


# --- all of them


@pytest.mark.parametrize(
    ("told", "undo", "back_to"),
    [
        (
            lambda: story(S.APPROVAL_PENDING).start(CREATE).expect(VALIDATE).reply().expect(CREATE_TICKET)
            .reply(TICKET_CREATED).expect(AUTHORIZE),
            CANCEL_TICKET,
            S.REJECTED,
        ),
        (
            lambda: story(S.APPROVED).start(CANCEL).expect(BEGIN_CANCEL).reply().expect(REVERSE),
            UNDO_CANCEL,
            S.APPROVED,
        ),
        (
            lambda: story(S.APPROVED).start(REVISE).expect(BEGIN_REVISE).reply().expect(REVISE_AUTHORIZATION),
            UNDO_REVISE,
            S.APPROVED,
        ),
    ],
    ids=["create", "cancel", "revise"],
)  # fmt: skip
def test_undoing_is_tried_until_it_succeeds_and_is_seen_when_it_does_not(
    told: Callable[[], Story], undo: AnyCommand, back_to: OrderState
) -> None:
    undoing = told().refuse("account is disabled")
    for _ in range(Policy().saga_attempts - 1):
        undoing.expect(undo).refuse("not now").until_due()
    undoing.expect(undo).refuse("never").expect_stuck().resume().expect(undo).reply()
    undoing.expect_undone().then(the_order(back_to))


@pytest.mark.parametrize(("saga", "begins_with"), [(CANCEL, BEGIN_CANCEL), (REVISE, BEGIN_REVISE)], ids=str)
def test_a_request_that_is_repeated_starts_one_saga(saga: Saga, begins_with: AnyCommand) -> None:
    told = story(S.APPROVED).start(saga, by="request").expect(begins_with)
    with pytest.raises(OrderStateDoesNotAllowAction):
        told.start(saga, by="request")
    told.expect_nothing().reply(Done())
