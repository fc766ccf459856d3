"""The kitchen service's HTTP API on a memory database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from kernel.values import OrderId
from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.domain.restaurant import Restaurant
from kitchen.domain.ticket import TicketStatus
from kitchen.tests.given import LINE_ITEMS, NOBODY, NOON, ORDER, RESTAURANT, TICKET, a_ticket
from shared.testing.system import MemorySystem, VirtualClock

S = TicketStatus
PATH = f"/api/tickets/{TICKET}"
READY_BY = {"ready_by": "2026-03-01T12:30:00Z"}
ITEMS = [
    {"menu_item_id": item.menu_item_id, "name": item.name, "price": item.price, "quantity": item.quantity}
    for item in LINE_ITEMS
]


@asynccontextmanager
async def api(*statuses: TicketStatus) -> AsyncIterator[httpx.AsyncClient]:
    """A client; there is a ticket in each status, the first is `TICKET`."""
    async with MemorySystem(["kitchen"], VirtualClock(NOON)) as system:
        async with system.services["kitchen"].container.units().begin() as uow:
            assert isinstance(uow, KitchenUnitOfWork)
            await uow.restaurants.add(Restaurant(id=RESTAURANT, name="Ajanta"))
            for number, status in enumerate(statuses):
                order = OrderId(f"{ORDER[:-1]}{number}")
                await uow.tickets.add(a_ticket(status, id_=f"{TICKET[:-1]}{number + 1}", order_id=order))
        yield system.client("kitchen")


def check_problem(answer: httpx.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if message is not None:
        assert answer.json()["message"] == message


async def test_a_ticket_is_accepted_cooked_and_picked_up() -> None:
    async with api(S.AWAITING_ACCEPTANCE) as http:
        answer = await http.get(PATH)
        assert answer.json() == {
            "id": TICKET, "order_id": f"{ORDER[:-1]}0", "restaurant_id": RESTAURANT, "status": "AwaitingAcceptance",
            "line_items": ITEMS, "accepted_at": None, "ready_by": None,
        }  # fmt: skip
        answer = await http.post(f"{PATH}/accept", json=READY_BY)
        assert (answer.status_code, answer.json()) == (202, {"id": TICKET})
        accepted = (await http.get(PATH)).json()
        assert (accepted["accepted_at"], accepted["ready_by"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:30:00Z")
        for action, status in (
            ("preparing", "Preparing"),
            ("ready", "ReadyForPickup"),
            ("picked-up", "PickedUp"),
        ):
            answer = await http.post(f"{PATH}/{action}")
            assert (answer.status_code, answer.json()) == (202, {"id": TICKET})
            assert (await http.get(PATH)).json()["status"] == status


@pytest.mark.parametrize("action", ["accept", "preparing", "ready", "picked-up"])
async def test_what_is_refused(action: str) -> None:
    body = READY_BY if action == "accept" else None
    async with api(S.CANCELLED) as http:
        check_problem(await http.post(f"{PATH}/{action}", json=body), 409, "ticket state does not allow action")
        check_problem(await http.post(f"/api/tickets/{NOBODY}/{action}", json=body), 404, "ticket not found")
        check_problem(await http.post(f"/api/tickets/x/{action}", json=body), 422)


async def test_what_is_not_there() -> None:
    async with api() as http:
        check_problem(await http.get(f"/api/tickets/{NOBODY}"), 404, "ticket not found")
        check_problem(await http.get(f"/api/restaurants/{NOBODY}"), 404, "restaurant not found")
        answer = await http.get(f"/api/restaurants/{RESTAURANT}")
        assert (answer.status_code, answer.json()) == (200, {"id": RESTAURANT})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"ready_by": (NOON - timedelta(seconds=1)).isoformat()}, 422, "readyBy is in the past"),
        ({"ready_by": "soon"}, 422, None),
        ({"ready_by": "2026-03-01T13:00:00"}, 422, None),
        ({"ready_by": 1772370000}, 422, None),
        ({}, 422, None),
        ({**READY_BY, "by": "me"}, 422, None),
    ],
    ids=str,
)
async def test_what_is_no_acceptance(body: dict[str, Any], status: int, message: str | None) -> None:
    async with api(S.AWAITING_ACCEPTANCE) as http:
        check_problem(await http.post(f"{PATH}/accept", json=body), status, message)
        assert (await http.get(PATH)).json()["status"] == "AwaitingAcceptance"


async def test_tickets_are_found_newest_first_and_page_by_page() -> None:
    async with api(S.CREATE_PENDING, S.ACCEPTED, S.ACCEPTED, S.PREPARING, S.ACCEPTED) as http:

        async def found(**parameters: Any) -> tuple[list[int], str]:
            answer = await http.get("/api/tickets", params=parameters)
            assert answer.status_code == 200, answer.text
            return [int(ticket["id"][-1]) for ticket in answer.json()["tickets"]], answer.json()["next"]

        assert await found() == ([5, 4, 3, 2, 1], "")
        assert await found(status="Accepted") == ([5, 3, 2], "")
        assert await found(order_id=f"{ORDER[:-1]}3") == ([4], "")
        assert await found(restaurant_id=RESTAURANT, limit=5) == ([5, 4, 3, 2, 1], "")
        assert await found(restaurant_id=NOBODY) == ([], "")
        assert await found(order_id=f"{ORDER[:-1]}3", status="Accepted") == ([], "")
        pages, cursor = [], ""
        while True:
            page, cursor = await found(limit=2, next=cursor)
            pages.append(page)
            if not cursor:
                break
        assert pages == [[5, 4], [3, 2], [1]]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=51", "limit=x", "status=Eaten", "order_id=x", "restaurant_id=x", "next=x", "next=bm9uZQ"],
)
async def test_what_is_no_search(query: str) -> None:
    async with api() as http:
        check_problem(await http.get(f"/api/tickets?{query}"), 422)
