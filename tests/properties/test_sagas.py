"""The sagas of orders, whatever is answered, however often and however late."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitchen.contracts import CreateTicket, CreateTicketReply
from order.application.sagas.cancel_order import CancelOrderSaga
from order.application.sagas.create_order import CreateOrderSaga
from order.application.sagas.revise_order import ReviseOrderSaga
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.errors import OrderStateDoesNotAllowAction
from order.domain.order import Order, OrderState
from order.tests.given import CONSUMER, CURRY, LINE_ITEMS, ORDER, RESTAURANT, TICKET, TOTAL, in_memory, stored
from shared.adapters.memory.database import MemoryDatabase
from shared.core.errors import Conflict
from shared.core.messages import Done, Reply
from shared.messaging.envelope import Envelope
from shared.saga.machine import Phase
from shared.saga.saga import Saga
from shared.testing.sagas import SagaTest
from tests.properties.values import SOME, Draw
from tools.documents.catalogue import command_of

CREATE = CreateOrderSaga(
    order_id=ORDER, consumer_id=CONSUMER, restaurant_id=RESTAURANT, line_items=LINE_ITEMS, order_total=TOTAL
)
CANCEL = CancelOrderSaga(order_id=ORDER, consumer_id=CONSUMER, ticket_id=TICKET, order_total=TOTAL)
REVISE = ReviseOrderSaga(
    order_id=ORDER,
    consumer_id=CONSUMER,
    ticket_id=TICKET,
    current_order_total=TOTAL,
    revised_quantities={CURRY: 1},
)
SAGAS = [
    (CREATE, OrderState.APPROVAL_PENDING, OrderState.APPROVED, OrderState.REJECTED),
    (CANCEL, OrderState.APPROVED, OrderState.CANCELLED, OrderState.APPROVED),
    (REVISE, OrderState.APPROVED, OrderState.APPROVED, OrderState.APPROVED),
]


class Participants:
    """Answers a saga's commands, and remembers what was sent and what was done."""

    def __init__(self, saga: Saga, state: OrderState) -> None:
        async def given_an_order(uow: OrderUnitOfWork) -> None:
            await stored(uow, state)

        self.story = SagaTest(in_memory, MemoryDatabase()).given(given_an_order)
        self.story.start(saga, by="request")
        self.sent: dict[str, Envelope] = {}
        self.done: list[str] = []
        self.look()

    @property
    def waiting(self) -> Envelope | None:
        """The command that the saga waits for."""
        return self.sent.get(self.story.instance.awaiting or "")

    def look(self) -> None:
        """Takes what was sent: one command at most, which may be one that was sent before."""
        new, self.story._unexpected = self.story._unexpected, []
        assert len(new) <= 1
        self.sent.update((command.id, command) for command in new)

    def succeed(self, command: Envelope) -> None:
        """Carries a command out, once; its reply may come often."""
        if command is self.waiting:
            self.done.append(command.type)
        reply: Reply = CreateTicketReply(ticket_id=TICKET) if command.type == CreateTicket.type_name else Done()
        self.story.reply(reply, to=command)
        self.look()

    def refuse(self, command: Envelope) -> None:
        """Refuses a command."""
        self.story.refuse("no", to=command)
        self.look()

    def order(self) -> Order:
        """The order as it is now."""
        seen: list[Order] = []

        async def see(uow: OrderUnitOfWork) -> None:
            seen.append(await uow.orders.get(ORDER))

        self.story.then(see)
        return seen[0]

    def go_on(self) -> None:
        """What time and operators do: nothing that is due is left, and nothing is stuck."""
        instance = self.story.instance
        if instance.stuck:
            self.story.resume()
        elif instance.due_at is not None:
            self.story.until_due()
        self.look()


def something_comes(draw: Draw, participants: Participants) -> None:
    """An answer, time, or an answer that is stale: that one changes nothing."""
    waiting = participants.waiting
    stale = [command for command in participants.sent.values() if command is not waiting]
    answers: list[Callable[[Envelope], None]] = [participants.succeed, participants.refuse]
    what = draw(st.sampled_from(["success", "success", "refusal", "time", "stale"]))
    if what == "stale" and stale:
        before = participants.story.instance, participants.order().version, len(participants.sent)
        draw(st.sampled_from(answers))(draw(st.sampled_from(stale)))
        assert (participants.story.instance, participants.order().version, len(participants.sent)) == before
    elif what == "time" or waiting is None:
        participants.go_on()
    else:
        (participants.refuse if what == "refusal" else participants.succeed)(waiting)


@pytest.mark.parametrize(("saga", "before", "completed", "undone"), SAGAS, ids=lambda it: type(it).__name__)
@given(st.data())
@SOME
def test_a_saga_ends_with_all_done_or_all_undone_in_reverse(
    saga: Saga, before: OrderState, completed: OrderState, undone: OrderState, data: st.DataObject
) -> None:
    participants = Participants(saga, before)
    for _ in range(data.draw(st.integers(0, 40))):
        something_comes(data.draw, participants)
    for _ in range(40):  # at last everybody does what is asked
        waiting = participants.waiting
        participants.go_on() if waiting is None else participants.succeed(waiting)
    instance = participants.story.instance
    assert instance.position.finished
    assert not instance.stuck
    remote = [row for row in saga.table if row.action is not None and not row.is_local]
    forward = [_name(row.action) for row in remote]
    if instance.phase is Phase.COMPLETED:
        assert participants.done == forward
        assert participants.order().state is completed
    else:
        turned_at = next((at for at, name in enumerate(participants.done) if name != forward[at]), None)
        carried_out = participants.done[:turned_at]
        taken_back = [_name(row.undo) for row in reversed(remote[: len(carried_out)]) if row.undo is not None]
        assert participants.done == [*carried_out, *taken_back]
        assert participants.order().state is undone
        assert all(not row.is_pivot for row in remote[: len(carried_out)])


@pytest.mark.parametrize(("saga", "before", "completed", "undone"), SAGAS, ids=lambda it: type(it).__name__)
@given(st.data())
@SOME
def test_no_answer_that_comes_after_the_end_changes_anything(
    saga: Saga, before: OrderState, completed: OrderState, undone: OrderState, data: st.DataObject
) -> None:
    participants = Participants(saga, before)
    if data.draw(st.booleans()) and participants.waiting:
        participants.refuse(participants.waiting)
    while participants.waiting:
        participants.succeed(participants.waiting)
    ended, order = participants.story.instance, participants.order()
    assert ended.position.finished
    for command in data.draw(st.lists(st.sampled_from(list(participants.sent.values())), max_size=8)):
        data.draw(st.sampled_from([participants.succeed, participants.refuse]))(command)
    with pytest.raises((Conflict, OrderStateDoesNotAllowAction)):
        participants.story.start(saga, by="request")
    assert (participants.story.instance, participants.order().version) == (ended, order.version)
    assert participants.waiting is None
    assert order.state is (completed if ended.phase is Phase.COMPLETED else undone)


def _name(request: Any) -> str:
    return str(command_of(request).type_name)
