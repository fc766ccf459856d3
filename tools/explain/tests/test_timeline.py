"""Timelines: which messages belong to an order, what followed from what, and how it looks."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from shared.messaging.envelope import Envelope
from tools.explain.command import render
from tools.explain.message_words import time_of
from tools.explain.progress import Progress
from tools.explain.saga_tables import SagaTables
from tools.explain.tests.tape import COURIER, OTHER, PASTA, TICKET, Tape, collected, rejected, request_id, waited
from tools.explain.timeline import Kind, SagaMark, Timeline, build

SAGAS = SagaTables.of_services()


def timeline_of(messages: list[Envelope]) -> Timeline:
    return build(collected(*messages), SAGAS)


def shown(timeline: Timeline, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(render(timeline))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_a_rejected_order_and_its_compensation() -> None:
    assert (
        shown(timeline_of(rejected()), 120)
        == """\
Order 019ced8e-2a40-7000-8000-0000000a11ce  2026-03-14 18:30:00 UTC
order Rejected · ticket Cancelled · delivery CANCELLED
12 messages · correlation id c-1
ms  service     message                      saga, step
 0  client      ▶ POST /api/orders
 3  order       • OrderCreated               create order 1/6   $25.00 · Da Mario · 2 × Pasta
 9  order         → ValidateOrderByConsumer  create order 2/6   to consumer · $25.00
15  consumer        ← Done                   create order 2/6
20  order         → CreateTicket             create order 3/6   to kitchen · 2 × Pasta
26  kitchen         ← Done                   create order 3/6
31  order         → AuthorizeOrder           create order 4/6   to accounting · $25.00
36  accounting      ✗ Refused                create order 4/6   “account is disabled”
41  order         → CancelCreateTicket       create order ↶3/6  to kitchen
47  kitchen         • TicketCreateCancelled
47  kitchen         ← Done                   create order ↶3/6
52  order         • OrderRejected            create order ↶1/6  “account is disabled”
58  delivery        • DeliveryCancelled"""
    )


def test_a_courier_who_came_from_another_order() -> None:
    assert (
        shown(timeline_of(waited()), 100)
        == """\
Order 019ced8e-2a40-7000-8000-0000000a11ce  2026-03-14 18:30:00 UTC
order ApprovalPending · ticket Accepted · delivery SCHEDULED
3 messages · correlation id c-1, and 1 of other requests
   ms  service   message              saga, step
    0  client    ▶ POST /api/orders
    3  order     • OrderCreated                   $25.00
  500  client    ▶ POST /api/tickets/{id}/accept
  504  kitchen   • TicketAccepted                 ready by 19:00 UTC
1,500  client    ▶ POST /api/deliveries/{id}/delivered  order …000b0b: DeliveryDelivered
1,503  delivery  • DeliveryScheduled              courier …001e12"""
    )


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(timeline_of(rejected()), width).splitlines())) <= width


def test_the_first_step_of_a_saga_that_a_request_starts_is_local() -> None:
    tape = Tape()
    tape.event("created", "order.OrderCreated", request_id(0), 1)
    tape.event("cancelling", "order.OrderCancelling", request_id(90), 100)
    tape.command("begin", "kitchen.BeginCancelTicket", request_id(90), 100, "s-2", ticket_id=TICKET)
    tape.reply("begun", "begin", 110, "kitchen", "s-2", refusal="ticket state does not allow action")
    tape.event("undone", "order.OrderCancellingUndone", "begun", 120, reason="ticket state does not allow action")
    marks = {entry.name: entry.mark for entry in timeline_of(tape.messages).entries}
    assert marks["OrderCancelling"] == SagaMark(saga="cancel order", step=1, steps=5)
    assert marks["BeginCancelTicket"] == SagaMark(saga="cancel order", step=2, steps=5)
    assert marks["OrderCancellingUndone"] == SagaMark(saga="cancel order", step=1, steps=5, undoing=True)
    assert marks["OrderCreated"] is None


def test_steps_of_a_saga_stand_below_each_other() -> None:
    depths = {entry.id: entry.depth for entry in timeline_of(rejected()).entries}
    assert depths["validate"] == depths["ticket"] == depths["authorize"] == depths["undo-ticket"] == depths["rejected"]
    assert depths["validated"] == depths["refused"] == depths["ticket-gone"] == depths["validate"] + 1


def test_a_message_sent_twice_is_shown_once() -> None:
    messages = rejected()
    entries = timeline_of([*messages, messages[1]]).entries
    assert [entry.copies for entry in entries if entry.id == "validate"] == [2]


def test_a_step_tried_again_begins_with_a_timer() -> None:
    tape = Tape()
    tape.messages = rejected()[:2]
    tape.command("again", "consumer.ValidateOrderByConsumer", "a timer", 900)
    kinds = [(entry.kind, entry.sender) for entry in timeline_of(tape.messages).entries if entry.depth == 0]
    assert kinds == [(Kind.REQUEST, "client"), (Kind.TIMER, "order")]


def test_a_message_about_another_order_is_named_where_it_caused_one_of_this() -> None:
    other, tape = Tape(OTHER, "c-2"), Tape()
    tape.event("accepted", "kitchen.TicketAccepted", request_id(0), 3)
    other.event("cancelled", "kitchen.TicketCancelled", "a command", 50)
    tape.event("scheduled", "delivery.DeliveryScheduled", "cancelled", 60, courier_id=COURIER)
    messages = [tape.messages[0], *other.messages, tape.messages[1]]
    cause = next(entry for entry in timeline_of(messages).entries if entry.id == "cancelled")
    assert (cause.kind, cause.sender, cause.name, cause.detail) == (
        Kind.ELSEWHERE,
        "kitchen",
        "TicketCancelled",
        "order …000b0b",
    )


def test_messages_without_an_order_belong_to_that_of_their_request() -> None:
    tape, other = Tape(), Tape(OTHER)  # one client's correlation id for both
    tape.event("created", "order.OrderCreated", request_id(0), 1)
    other.event("other", "order.OrderCreated", request_id(5), 6)
    renamed = replace(tape.messages[0], id="renamed", type="consumer.ConsumerUpdated", key="x", data='{"name": "Ada"}')
    stranger = replace(renamed, id="stranger", correlation_id="c-9")
    found = collected(*tape.messages, *other.messages, renamed, stranger)
    assert [message.id for message in found.messages] == ["created", "renamed"]


def test_the_time_to_approval_begins_with_the_request() -> None:
    tape = Tape()
    tape.event("created", "order.OrderCreated", request_id(0), 3)
    assert timeline_of(tape.messages).approval_seconds is None
    tape.event("approved", "order.OrderApproved", "a reply", 48, ticket_id=TICKET)
    assert timeline_of(tape.messages).approval_seconds == pytest.approx(0.048)


def test_of_nothing_there_is_no_timeline() -> None:
    with pytest.raises(ValueError, match=OTHER):
        build(collected(*rejected(), order=OTHER), SAGAS)


def test_every_command_of_the_sagas_has_its_step() -> None:
    expected = {
        "kitchen.ConfirmCreateTicket": ("CreateOrderSaga", 4),
        "kitchen.UndoCancelTicket": ("CancelOrderSaga", 1),
        "accounting.ReviseAuthorizeOrder": ("ReviseOrderSaga", 2),
    }
    for command, (saga, index) in expected.items():
        step = SAGAS.step_of(command)
        assert step is not None
        assert (step.saga.__name__, step.position.step) == (saga, index)
    assert SAGAS.step_of("kitchen.NoSuchCommand") is None


def test_progress_goes_back_to_where_a_ticket_was() -> None:
    tape = Tape()
    for number, (type_, data) in enumerate(
        [
            ("order.OrderCreated", {"line_items": PASTA}),
            ("kitchen.TicketCreated", {}),
            ("order.OrderApproved", {}),
            ("kitchen.TicketAccepted", {}),
            ("order.OrderProposedRevision", {}),
            ("kitchen.TicketRevising", {}),
        ]
    ):
        tape.event(str(number), type_, request_id(0), number, **data)
    progress = Progress()
    assert all(progress.take(message) for message in tape.messages)
    assert (progress.order, progress.ticket, progress.delivery) == ("RevisionPending", "RevisionPending", "PENDING")
    undone = replace(tape.messages[-1], type="kitchen.TicketReviseUndone")
    assert progress.take(undone)
    assert not progress.take(undone)
    assert progress.ticket == "Accepted"


def test_only_ids_of_version_7_know_their_time() -> None:
    moment = time_of(request_id(12))
    assert moment is not None
    assert moment.isoformat() == "2026-03-14T18:30:00.012000+00:00"
    assert time_of("2c624232-1b36-4b4f-9a4e-1d5c1a1b2c3d") is None
    assert time_of("no id") is None
