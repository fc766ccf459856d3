"""The delivery service's HTTP API, on a memory database; what has happened elsewhere comes by the memory broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import httpx
import pytest

from delivery.tests.world import (
    FRONT_DOOR,
    KITCHEN_DOOR,
    NOON,
    READY_BY,
    new_courier,
    new_order,
    order_cancelled,
    order_created,
    restaurant_created,
    ticket_accepted,
    ticket_picked_up,
)
from shared.core.ids import new_id
from shared.core.messages import Event
from shared.core.serialization import to_json
from shared.messaging.broker import Publication, subject_of
from shared.messaging.envelope import Envelope
from shared.testing.system import MemorySystem, VirtualClock


class Service:
    """The delivery service, and what happens around it."""

    def __init__(self, system: MemorySystem) -> None:
        self.system = system
        self.http = system.client("delivery")

    async def hears(self, *events: Event) -> None:
        """Events of other services arrive and are handled."""
        for event in events:
            envelope = Envelope(
                id=new_id(),
                type=event.type_name,
                kind="event",
                source=event.type_name.partition(".")[0],
                key=event.key,
                data=to_json(event),
                time=self.system.clock(),
                correlation_id="test",
                causation_id="test",
            )
            self.system.broker.store(
                Publication(
                    row_id=envelope.id,
                    subject=subject_of(0, envelope.route),
                    headers=envelope.to_headers(),
                    data=envelope.data,
                )
            )
        await self.system.settle()

    async def set_available(self, courier: str, available: bool) -> httpx.Response:
        return await self.http.post(f"/api/couriers/{courier}/availability", json={"available": available})

    async def delivery(self, order: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/deliveries/{order}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    async with MemorySystem(["delivery"], VirtualClock(NOON)) as system:
        delivery = Service(system)
        await delivery.hears(restaurant_created())
        yield delivery


def refused(answer: httpx.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["message"] == problem["detail"]
    if message is not None:
        assert problem["message"] == message


async def test_a_courier_goes_on_and_off_duty() -> None:
    async with service() as delivery:
        courier = new_courier()
        for available in (True, False):
            answer = await delivery.set_available(courier, available)
            assert (answer.status_code, answer.json()) == (201, {"available": available})
            answer = await delivery.http.get(f"/api/couriers/{courier}")
            assert (answer.status_code, answer.json()) == (
                200,
                {"id": courier, "available": available, "plan": []},
            )


async def test_a_delivery_from_the_order_to_the_consumer() -> None:
    async with service() as delivery:
        order, courier = new_order(), new_courier()
        await delivery.hears(order_created(order))
        pending: dict[str, Any] = {
            "id": order,
            "status": "PENDING",
            "assigned_courier": None,
            "courier_actions": [],
            "pickup_address": asdict(KITCHEN_DOOR),
            "delivery_address": asdict(FRONT_DOOR),
            "ready_by": None,
        }
        assert await delivery.delivery(order) == pending

        ready_by = READY_BY.strftime("%Y-%m-%dT%H:%M:%SZ")
        await delivery.hears(ticket_accepted(order))
        assert await delivery.delivery(order) == {**pending, "ready_by": ready_by}

        await delivery.set_available(courier, True)
        plan = [
            {"delivery_id": order, "action": "PICKUP", "address": asdict(KITCHEN_DOOR), "when": ready_by},
            {
                "delivery_id": order,
                "action": "DROPOFF",
                "address": asdict(FRONT_DOOR),
                "when": (READY_BY + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        ]
        scheduled = {
            **pending,
            "status": "SCHEDULED",
            "assigned_courier": courier,
            "courier_actions": plan,
            "ready_by": ready_by,
        }
        assert await delivery.delivery(order) == scheduled
        answer = await delivery.http.get(f"/api/couriers/{courier}")
        assert answer.json() == {"id": courier, "available": True, "plan": plan}

        await delivery.hears(ticket_picked_up(order))
        assert await delivery.delivery(order) == {**scheduled, "status": "PICKED_UP"}

        answer = await delivery.http.post(f"/api/deliveries/{order}/delivered")
        assert (answer.status_code, answer.json()) == (202, {"id": order})
        assert await delivery.delivery(order) == {**scheduled, "status": "DELIVERED", "courier_actions": []}
        assert (await delivery.http.get(f"/api/couriers/{courier}")).json()["plan"] == []


async def test_a_cancelled_delivery_has_no_courier() -> None:
    async with service() as delivery:
        order, courier = new_order(), new_courier()
        await delivery.set_available(courier, True)
        await delivery.hears(order_created(order), ticket_accepted(order), order_cancelled(order))
        cancelled = await delivery.delivery(order)
        assert (cancelled["status"], cancelled["assigned_courier"], cancelled["courier_actions"]) == (
            "CANCELLED",
            None,
            [],
        )


async def test_delivered_before_it_was_picked_up_and_twice() -> None:
    async with service() as delivery:
        order, courier = new_order(), new_courier()
        path, text = f"/api/deliveries/{order}/delivered", "delivery state does not allow action"
        await delivery.set_available(courier, True)
        await delivery.hears(order_created(order))
        refused(await delivery.http.post(path), 409, text)
        await delivery.hears(ticket_accepted(order))
        refused(await delivery.http.post(path), 409, text)
        await delivery.hears(ticket_picked_up(order))
        assert (await delivery.http.post(path)).status_code == 202
        refused(await delivery.http.post(path), 409, text)


async def test_what_does_not_exist() -> None:
    async with service() as delivery:
        refused(await delivery.http.get(f"/api/couriers/{new_id()}"), 404, "courier not found")
        refused(await delivery.http.get(f"/api/deliveries/{new_id()}"), 404, "delivery not found")
        refused(await delivery.http.post(f"/api/deliveries/{new_id()}/delivered"), 404, "delivery not found")


async def test_a_delivery_is_shown_when_its_order_has_arrived() -> None:
    async with service() as delivery:
        order = new_order()
        await delivery.hears(order_cancelled(order))
        refused(await delivery.http.get(f"/api/deliveries/{order}"), 404, "delivery not found")
        refused(await delivery.http.post(f"/api/deliveries/{order}/delivered"), 404, "delivery not found")
        await delivery.hears(order_created(order))
        assert (await delivery.delivery(order))["status"] == "CANCELLED"


@pytest.mark.parametrize(
    "body", [{}, {"available": "sometimes"}, {"available": 1}, {"available": None}, {"available": True, "until": "9"}]
)
async def test_availability_that_is_not_as_the_schema_says(body: dict[str, Any]) -> None:
    async with service() as delivery:
        courier = new_courier()
        refused(await delivery.http.post(f"/api/couriers/{courier}/availability", json=body), 422)
        refused(await delivery.http.get(f"/api/couriers/{courier}"), 404, "courier not found")


async def test_what_is_no_request_at_all() -> None:
    async with service() as delivery:
        path = f"/api/couriers/{new_courier()}/availability"
        json = {"content-type": "application/json"}
        refused(await delivery.http.post(path, content=b'{"available": tru', headers=json), 400)
        refused(await delivery.http.post(path, content=b" " * ((1 << 20) + 1), headers=json), 413)
        refused(await delivery.set_available("42", True), 422)
        for path in ("/api/couriers/42", "/api/deliveries/42"):
            refused(await delivery.http.get(path), 422)
        refused(await delivery.http.post("/api/deliveries/42/delivered"), 422)


async def test_an_order_whose_restaurant_is_not_known_waits_for_it_and_others_do_not() -> None:
    async with MemorySystem(["delivery"], VirtualClock(NOON)) as system:
        delivery, order = Service(system), new_order()
        await delivery.hears(order_created(order), ticket_accepted(order), restaurant_created())
        await system.settle(patience=timedelta(seconds=5))
        waiting = await delivery.delivery(order)
        assert (waiting["status"], waiting["ready_by"]) == ("PENDING", READY_BY.strftime("%Y-%m-%dT%H:%M:%SZ"))


async def test_a_ticket_may_be_accepted_long_before_its_order_arrives() -> None:
    async with service() as delivery:
        order, courier = new_order(), new_courier()
        await delivery.set_available(courier, True)
        await delivery.hears(ticket_accepted(order))
        await delivery.system.settle(patience=timedelta(hours=1))
        delivery.system.clock.advance(timedelta(hours=1))
        await delivery.hears(order_created(order))
        assert (await delivery.delivery(order))["assigned_courier"] == courier
