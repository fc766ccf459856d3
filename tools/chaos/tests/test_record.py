"""The clients' record notices what the system has lost, doubled, or done that nobody asked for."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from shared.eventsourcing.store import Metadata, StoredEvent
from tools.chaos.record import Outcome, Placed, Record
from tools.verify.state import SystemState

ACCEPTED, REFUSED, INDETERMINATE = Outcome


class Stored:
    """A system of which only the events are looked at. Services are known by the first word of what happened."""

    def __init__(self) -> None:
        self.services = {name: Service() for name in ("order", "kitchen", "delivery")}

    def happens(self, type_: str, order_id: str, **data: Any) -> None:
        event = StoredEvent(
            aggregate="Any",
            id=order_id,
            version=1,
            type=type_,
            data=json.dumps({"order_id": order_id, **data}),
            metadata=Metadata(id="", schema=1, correlation_id="", causation_id=""),
            occurred_at=datetime.now(UTC),
        )
        self.services[type_.partition(".")[0]].stored.append(event)

    def order(self, order_id: str, mark: str) -> None:
        self.happens("order.OrderCreated", order_id, deliver_to={"street2": mark})


class Service:
    def __init__(self) -> None:
        self.stored: list[StoredEvent] = []

    async def events(self) -> AsyncIterator[StoredEvent]:
        for event in self.stored:
            yield event


async def texts(record: Record, stored: Stored) -> list[str]:
    return [finding.text for finding in await record.compare(cast(SystemState, stored))]


@pytest.mark.parametrize(
    ("outcome", "exist", "found"),
    [
        (ACCEPTED, ["1"], []),
        (ACCEPTED, [], ["an acknowledged order is missing"]),
        (ACCEPTED, ["2"], ["an acknowledged order is missing"]),
        (ACCEPTED, ["1", "2"], ["an order was placed once and exists 2 times"]),
        (INDETERMINATE, [], []),
        (INDETERMINATE, ["1"], []),
        (INDETERMINATE, ["1", "2"], ["an order was placed once and exists 2 times"]),
        (REFUSED, [], []),
        (REFUSED, ["1"], ["an order was refused and exists"]),
    ],
)
async def test_orders(outcome: Outcome, exist: list[str], found: list[str]) -> None:
    stored = Stored()
    for order_id in exist:
        stored.order(order_id, "mark")
    record = Record(placed=[Placed("mark", outcome, "1" if outcome is ACCEPTED else None)])
    assert await texts(record, stored) == found


async def test_an_order_that_nobody_has_asked_for() -> None:
    stored = Stored()
    stored.order("1", "mark")
    assert await texts(Record(), stored) == ["an order exists that nobody has asked for"]


@pytest.mark.parametrize(
    ("outcomes", "happened", "found"),
    [
        ([ACCEPTED], ["OrderCancelling", "OrderCancelled"], []),
        ([ACCEPTED], ["OrderCancelling", "OrderCancellingUndone"], []),
        ([ACCEPTED], [], ["cancel was acknowledged 1 times, and there are 0 order.OrderCancelling"]),
        ([ACCEPTED], ["OrderCancelling"], ["cancel was begun 1 times and has ended 0 times"]),
        ([REFUSED], [], []),
        (
            [REFUSED],
            ["OrderCancelling", "OrderCancelled"],
            ["cancel was acknowledged 0 times, and there are 1 order.OrderCancelling"],
        ),
        ([INDETERMINATE], ["OrderCancelling", "OrderCancelled"], []),
        ([INDETERMINATE], [], []),
        (
            [ACCEPTED, REFUSED],
            ["OrderCancelling", "OrderCancellingUndone"] * 2,
            ["cancel was acknowledged 1 times, and there are 2 order.OrderCancelling"],
        ),
    ],
)
async def test_changes(outcomes: list[Outcome], happened: list[str], found: list[str]) -> None:
    stored, record = Stored(), Record()
    for name in happened:
        stored.happens(f"order.{name}", "1", reason="it is too late")
    record.changes["1", "cancel"].update(outcomes)
    assert await texts(record, stored) == found


async def test_what_was_undone_says_why() -> None:
    stored = Stored()
    stored.happens("order.OrderRejected", "1", reason="")
    assert await texts(Record(), stored) == ["an order.OrderRejected does not say why"]
