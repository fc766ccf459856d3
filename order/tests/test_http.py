"""The order service's HTTP API, on a memory database; what has happened elsewhere comes by the memory broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from order.domain.order import OrderState
from order.tests.given import CONSUMER, CURRY, DELIVER_TO, MENU, NAAN, NOBODY, ORDER, RESTAURANT, TICKET, stored
from restaurant.contracts import RestaurantCreated
from shared.testing.system import MemorySystem

ADDRESS = {"street1": "1 Main Street", "city": "Oakland", "state": "CA", "zip": "94611"}


def new_order(**changes: Any) -> dict[str, Any]:
    body = {
        "consumer_id": CONSUMER,
        "restaurant_id": RESTAURANT,
        "delivery_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "delivery_address": ADDRESS,
        "line_items": {CURRY: 2, NAAN: 1},
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


class Service:
    """The order service, and its client."""

    def __init__(self, system: MemorySystem) -> None:
        self.system = system
        self.http = system.client("order")

    async def has(self, state: OrderState) -> None:
        """An order in that state."""
        async with self.system.services["order"].container.units().begin() as uow:
            await stored(uow, state)  # type: ignore[arg-type]

    def events(self) -> int:
        return sum(len(events) for events in self.system.services["order"].database.events.values())


@asynccontextmanager
async def service(state: OrderState | None = None) -> AsyncIterator[Service]:
    async with MemorySystem(["order"]) as system:
        await system.tell(RestaurantCreated(restaurant_id=RESTAURANT, name="Ajanta", address=DELIVER_TO, menu=MENU))
        order = Service(system)
        if state is not None:
            await order.has(state)
        yield order


def check_problem(answer: httpx.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["message"] == problem["detail"]
    if message is not None:
        assert problem["message"] == message


async def test_an_order_is_taken_and_can_be_seen() -> None:
    async with service() as order:
        answer = await order.http.post("/api/orders", json=new_order())
        assert answer.status_code == 201
        assert set(answer.json()) == {"id"}
        seen = await order.http.get(f"/api/orders/{answer.json()['id']}")
        assert seen.status_code == 200
        assert seen.json() == {
            "order_id": answer.json()["id"],
            "state": "ApprovalPending",
            "order_total": 2700,
            "consumer_id": CONSUMER,
            "restaurant_id": RESTAURANT,
            "line_items": [
                {"menu_item_id": "curry", "name": "Curry", "price": 1200, "quantity": 2},
                {"menu_item_id": "naan", "name": "Naan", "price": 300, "quantity": 1},
            ],
            "ticket_id": None,
            "rejection": "",
        }


async def test_the_restaurants_that_are_known() -> None:
    async with service() as order:
        answer = await order.http.get(f"/api/restaurants/{RESTAURANT}")
        assert (answer.status_code, answer.json()) == (200, {"id": RESTAURANT})
        check_problem(await order.http.get(f"/api/restaurants/{NOBODY}"), 404, "restaurant not found")


async def test_cancelling_and_revising_answer_the_state_after_the_first_step() -> None:
    async with service(OrderState.APPROVED) as order:
        answer = await order.http.put(f"/api/orders/{ORDER}/cancel")
        assert (answer.status_code, answer.json()) == (202, {"status": "CancelPending"})
        assert (await order.http.get(f"/api/orders/{ORDER}")).json()["ticket_id"] == TICKET
    async with service(OrderState.APPROVED) as order:
        answer = await order.http.put(f"/api/orders/{ORDER}/revise", json={"revised_quantities": {CURRY: 1}})
        assert (answer.status_code, answer.json()) == (202, {"status": "RevisionPending"})


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"restaurant_id": NOBODY}, 404, "restaurant not found"),
        ({"line_items": {"pizza": 1}}, 404, "menu item not found"),
        ({"line_items": {"water": 1}}, 400, "order total does not meet the minimum"),
        ({"line_items": {}}, 422, None),
        ({"line_items": {CURRY: 0}}, 422, None),
        ({"line_items": {CURRY: -1}}, 422, None),
        ({"line_items": {CURRY: 1.5}}, 422, None),
        ({"line_items": {CURRY: "1"}}, 422, None),
        ({"line_items": {CURRY: True}}, 422, None),
        ({"line_items": {CURRY: 10_001}}, 422, None),
        ({"line_items": {"": 1}}, 422, None),
        ({"line_items": None}, 422, None),
        ({"line_items": [{"id": CURRY, "quantity": 1}]}, 422, None),
        ({"consumer_id": "somebody"}, 422, None),
        ({"consumer_id": None}, 422, None),
        ({"restaurant_id": "{" + RESTAURANT + "}"}, 422, None),
        ({"delivery_time": "2001-01-01T00:00:00Z"}, 422, "delivery time is in the past"),
        ({"delivery_time": "tomorrow"}, 422, None),
        ({"delivery_time": "2099-01-01T00:00:00"}, 422, None),
        ({"delivery_address": {**ADDRESS, "zip": ""}}, 422, None),
        ({"delivery_address": {**ADDRESS, "planet": "Earth"}}, 422, None),
        ({"delivery_address": {**ADDRESS, "city": "x" * 1001}}, 422, None),
        ({"delivery_address": {**ADDRESS, "city": "a\x00b"}}, 422, None),
        ({"delivery_address": None}, 422, None),
        ({"tip": 1}, 422, None),
    ],
    ids=str,
)
async def test_what_is_no_order_leaves_nothing(changes: dict[str, Any], status: int, message: str | None) -> None:
    async with service() as order:
        check_problem(await order.http.post("/api/orders", json=new_order(**changes)), status, message)
        assert order.events() == 0


async def test_delivery_times_in_the_very_near_past_are_taken() -> None:
    async with service() as order:
        for minutes, status in ((4, 201), (6, 422)):
            time = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
            answer = await order.http.post("/api/orders", json=new_order(delivery_time=time))
            assert answer.status_code == status


async def test_what_is_not_there() -> None:
    async with service() as order:
        for request in (
            order.http.get(f"/api/orders/{NOBODY}"),
            order.http.put(f"/api/orders/{NOBODY}/cancel"),
            order.http.put(f"/api/orders/{NOBODY}/revise", json={"revised_quantities": {CURRY: 1}}),
        ):
            check_problem(await request, 404, "order not found")
        for request in (order.http.get("/api/orders/x"), order.http.put("/api/orders/x/cancel")):
            check_problem(await request, 422)


@pytest.mark.parametrize("state", [state for state in OrderState if state is not OrderState.APPROVED])
async def test_only_approved_orders_can_be_cancelled_or_revised(state: OrderState) -> None:
    async with service(state) as order:
        before = order.events()
        message = "order state does not allow action"
        check_problem(await order.http.put(f"/api/orders/{ORDER}/cancel"), 409, message)
        revision = {"revised_quantities": {CURRY: 1}}
        check_problem(await order.http.put(f"/api/orders/{ORDER}/revise", json=revision), 409, message)
        assert order.events() == before


@pytest.mark.parametrize(
    ("quantities", "status", "message"),
    [
        ({"pizza": 1}, 404, "menu item not found"),
        ({"water": 1}, 404, "menu item not found"),
        ({CURRY: 0, NAAN: 0}, 400, "order total does not meet the minimum"),
        ({CURRY: -1}, 422, None),
        ({CURRY: 10_001}, 422, None),
        ({}, 422, None),
        (None, 422, None),
    ],
    ids=str,
)
async def test_what_is_no_revision(quantities: Any, status: int, message: str | None) -> None:
    async with service(OrderState.APPROVED) as order:
        answer = await order.http.put(f"/api/orders/{ORDER}/revise", json={"revised_quantities": quantities})
        check_problem(answer, status, message)
        assert (await order.http.get(f"/api/orders/{ORDER}")).json()["state"] == "Approved"


@pytest.mark.parametrize("content", [b"", b"{", b"not json", b'{"consumer_id":'])
async def test_malformed_json(content: bytes) -> None:
    async with service() as order:
        headers = {"content-type": "application/json"}
        answer = await order.http.post("/api/orders", content=content, headers=headers)
        check_problem(answer, 400 if content else 422)


async def test_a_request_that_is_repeated_with_its_key_is_done_once() -> None:
    async with service(OrderState.APPROVED) as order:
        body = new_order()
        first = await order.http.post("/api/orders", json=body, headers={"Idempotency-Key": "k"})
        again = await order.http.post("/api/orders", json=body, headers={"Idempotency-Key": "k"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        other = await order.http.post("/api/orders", json=body, headers={"Idempotency-Key": "k2"})
        assert other.json() != first.json()
        for path, json in (("cancel", None), ("revise", {"revised_quantities": {CURRY: 1}})):
            async with service(OrderState.APPROVED) as another:
                answers = [
                    await another.http.put(f"/api/orders/{ORDER}/{path}", json=json, headers={"Idempotency-Key": "k"})
                    for _ in range(2)
                ]
                assert [answer.status_code for answer in answers] == [202, 202]
                assert answers[0].json() == answers[1].json()


async def test_a_key_that_was_used_for_something_else() -> None:
    async with service() as order:
        body, key = new_order(), {"Idempotency-Key": "k"}
        assert (await order.http.post("/api/orders", json=body, headers=key)).status_code == 201
        answer = await order.http.post("/api/orders", json={**body, "line_items": {CURRY: 1}}, headers=key)
        check_problem(answer, 422, "the idempotency key was used for another request")
        check_problem(await order.http.post("/api/orders", json=body, headers={"Idempotency-Key": ""}), 422)
        check_problem(await order.http.post("/api/orders", json=body, headers={"Idempotency-Key": "k" * 256}), 422)


async def test_a_refusal_is_not_kept_under_its_key() -> None:
    async with service(OrderState.APPROVAL_PENDING) as order:
        key = {"Idempotency-Key": "k"}
        check_problem(await order.http.put(f"/api/orders/{ORDER}/cancel", headers=key), 409)
        async with order.system.services["order"].container.units().begin() as uow:
            (await uow.orders.get(ORDER)).approve(TICKET)  # type: ignore[attr-defined]
        assert (await order.http.put(f"/api/orders/{ORDER}/cancel", headers=key)).status_code == 202


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(f"{name}_orders_total") or 0.0


async def test_orders_are_counted_when_they_are_committed() -> None:
    before = {name: counted(name) for name in ("placed", "approved", "rejected")}
    async with service() as order:
        assert (await order.http.post("/api/orders", json=new_order())).status_code == 201
        assert (await order.http.post("/api/orders", json=new_order(line_items={"water": 1}))).status_code == 400
        assert counted("placed") == before["placed"] + 1
        await order.has(OrderState.APPROVED)
        assert (counted("approved"), counted("rejected")) == (before["approved"] + 1, before["rejected"])
    async with service(OrderState.REJECTED):
        assert counted("rejected") == before["rejected"] + 1
