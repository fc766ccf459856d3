"""Messages as they would be sent, written by hand: with ids and times that are the same each time."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.messaging.envelope import Envelope, Outcome
from tools.explain.timeline import Collector

BEGAN = datetime(2026, 3, 14, 18, 30, tzinfo=UTC)
ORDER = "019ced8e-2a40-7000-8000-0000000a11ce"
OTHER = "019ced8e-2a40-7000-8000-000000000b0b"
TICKET = "019ced8e-2a40-7000-8000-00000071c4e7"
COURIER = "019ced8e-2a40-7000-8000-00000c001e12"
CONSUMER = "019ced8e-2a40-7000-8000-000000c0ffee"
PASTA = [{"menu_item_id": "pasta", "name": "Pasta", "price": 1250, "quantity": 2}]


def request_id(after_ms: int) -> str:
    """Return the id that a request gets which comes then: a UUID of version 7."""
    moment = int(BEGAN.timestamp() * 1000) + after_ms
    text = f"{moment:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-00000000{after_ms:04d}"


class Tape:
    """Records messages about one order, or another."""

    def __init__(self, order: str = ORDER, correlation: str = "c-1") -> None:
        self.order = order
        self.correlation = correlation
        self.messages: list[Envelope] = []

    def event(self, id_: str, type_: str, cause: str, after_ms: int, **data: Any) -> None:
        """Record an event."""
        self._add(id_, type_, "event", cause, after_ms, {"order_id": self.order, **data})

    def command(self, id_: str, type_: str, cause: str, after_ms: int, saga: str = "s-1", **data: Any) -> None:
        """Record a command of one of the order service's sagas."""
        self._add(id_, type_, "command", cause, after_ms, {"order_id": self.order, **data}, saga, "order")

    def reply(self, id_: str, cause: str, after_ms: int, sender: str, saga: str = "s-1", refusal: str = "") -> None:
        """Record what a command is answered."""
        data = {"kind": "failed_precondition", "code": "x", "message": refusal} if refusal else {}
        type_ = "shared.Refused" if refusal else "shared.Done"
        outcome: Outcome = "refusal" if refusal else "success"
        self._add(id_, type_, "reply", cause, after_ms, data, saga, "order", outcome, sender)

    def _add(
        self,
        id_: str,
        type_: str,
        kind: Any,
        cause: str,
        after_ms: int,
        data: dict[str, Any],
        saga: str | None = None,
        reply_to: str | None = None,
        outcome: Outcome | None = None,
        sender: str = "",
    ) -> None:
        to_account = type_.startswith(("accounting.", "consumer."))
        self.messages.append(
            Envelope(
                id=id_,
                type=type_,
                kind=kind,
                source=sender or ("order" if kind == "command" else type_.partition(".")[0]),
                key=CONSUMER if to_account else self.order,
                data=json.dumps(data),
                time=BEGAN + timedelta(milliseconds=after_ms),
                correlation_id=self.correlation,
                causation_id=cause,
                saga_id=saga,
                reply_to=reply_to,
                outcome=outcome,
            )
        )


def collected(*messages: Envelope, order: str = ORDER) -> Collector:
    """Return what's found of the order among the messages."""
    collector = Collector(order)
    for message in messages:
        collector.offer(message)
    return collector


def rejected(restaurant: str = "Da Mario") -> list[Envelope]:
    """Return the life of an order that accounting refuses."""
    tape = Tape()
    created = {"order_total": 2500, "restaurant_name": restaurant, "line_items": PASTA}
    tape.event("created", "order.OrderCreated", request_id(0), 3, **created)
    tape.command("validate", "consumer.ValidateOrderByConsumer", "created", 9, order_total=2500)
    tape.reply("validated", "validate", 15, "consumer")
    tape.command("ticket", "kitchen.CreateTicket", "validated", 20, line_items=PASTA)
    tape.reply("ticketed", "ticket", 26, "kitchen")
    tape.command("authorize", "accounting.AuthorizeOrder", "ticketed", 31, order_total=2500)
    tape.reply("refused", "authorize", 36, "accounting", refusal="account is disabled")
    tape.command("undo-ticket", "kitchen.CancelCreateTicket", "refused", 41, ticket_id=TICKET)
    tape.reply("undone", "undo-ticket", 47, "kitchen")
    tape.event("ticket-gone", "kitchen.TicketCreateCancelled", "undo-ticket", 47, ticket_id=TICKET)
    tape.event("rejected", "order.OrderRejected", "undone", 52, reason="account is disabled")
    tape.event("cancelled", "delivery.DeliveryCancelled", "rejected", 58)
    return tape.messages


def waited() -> list[Envelope]:
    """Return the end of an order that waited for a courier, who came from another order."""
    other = Tape(OTHER, "c-2")
    tape = Tape()
    tape.event("created", "order.OrderCreated", request_id(0), 3, order_total=2500)
    tape.event("accepted", "kitchen.TicketAccepted", request_id(500), 504, ready_by="2026-03-14T19:00:00Z")
    other.event("delivered", "delivery.DeliveryDelivered", request_id(1500), 1503, courier_id=COURIER)
    from_other = Tape(ORDER, "c-2")
    from_other.event("scheduled", "delivery.DeliveryScheduled", request_id(1500), 1503, courier_id=COURIER)
    return [*tape.messages, *from_other.messages, *other.messages]
