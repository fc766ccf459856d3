"""The order history's HTTP API, on a memory database that hears of orders from a broker in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from delivery.contracts import DeliveryScheduled
from kernel.values import OrderId
from order_history.tests.story import (
    CONSUMER,
    COURIER,
    MINUTE,
    NOON,
    ORDER,
    PIZZA,
    RESTAURANT,
    SALAD,
    Happened,
    approved,
    created,
    revised,
)
from shared.core.ids import new_id
from shared.testing.system import MemorySystem

NOBODY = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def history(*happened: Happened) -> AsyncIterator[httpx.AsyncClient]:
    async with MemorySystem(["order_history"]) as system:
        for it in happened:
            system.broker.store(it.publication())
        await system.settle()
        yield system.client("order_history")


def id_of(number: int) -> str:
    return f"0197f3a0-0000-7000-8000-{number:012}"


THREE = (
    created(id_of(1), restaurant_name="Ajanta", line_items=[PIZZA], at=NOON),
    created(id_of(2), restaurant_name="Luigi", line_items=[PIZZA, SALAD], at=NOON + MINUTE),
    created(id_of(3), restaurant_name="Luigi", line_items=[SALAD], at=NOON + 2 * MINUTE),
    approved(id_of(2)),
)


async def page(http: httpx.AsyncClient, query: str = "", consumer_id: str = CONSUMER) -> tuple[list[str], str]:
    answer = await http.get(f"/api/orders?consumerID={consumer_id}{query}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"orders", "next"}
    return [order["order_id"] for order in body["orders"]], body["next"]


def refused(answer: httpx.Response, status: int, beginning: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["message"] == problem["detail"]
    assert problem["message"].startswith(beginning)


async def test_an_order() -> None:
    scheduled = DeliveryScheduled(order_id=ORDER, courier_id=COURIER, ready_by=NOON)
    story = (created(), approved(), revised({"pizza": 1, "salad": 0}, 1250, 4), Happened(scheduled, 1, NOON + MINUTE))
    async with history(*story) as http:
        answer = await http.get(f"/api/orders/{ORDER}")
        listed = await http.get(f"/api/orders?consumerID={CONSUMER}")
    assert answer.status_code == 200
    assert answer.json() == {
        "order_id": ORDER,
        "status": "Approved",
        "restaurant_id": RESTAURANT,
        "restaurant_name": "Luigi's Trattoria",
        "order_total": 1250,
        "line_items": [{"menu_item_id": "pizza", "name": "Pizza Margherita", "price": 1250, "quantity": 1}],
        "delivery_status": "SCHEDULED",
        "created_at": "2026-03-01T12:00:00.123456Z",
        "updated_at": "2026-03-01T12:01:00.123456Z",
    }
    assert listed.json() == {"orders": [answer.json()], "next": ""}


async def test_an_order_that_was_not_heard_of() -> None:
    async with history() as http:
        refused(await http.get(f"/api/orders/{new_id()}"), 404, "order not found")


async def test_an_order_whose_creation_was_not_heard_of() -> None:
    async with history(approved()) as http:
        refused(await http.get(f"/api/orders/{ORDER}"), 404, "order not found")
        assert await page(http) == ([], "")


async def test_an_id_that_is_none() -> None:
    async with history() as http:
        refused(await http.get("/api/orders/42"), 422, "path.id: ")


async def test_a_consumers_orders_come_newest_first() -> None:
    async with history(*THREE, created(id_of(4), consumer_id=NOBODY)) as http:
        assert await page(http) == ([id_of(3), id_of(2), id_of(1)], "")
        assert await page(http, consumer_id=NOBODY) == ([id_of(4)], "")
        assert await page(http, consumer_id=CONSUMER.upper()) == ([id_of(3), id_of(2), id_of(1)], "")
        assert await page(http, consumer_id=new_id()) == ([], "")


async def test_pages() -> None:
    async with history(*THREE) as http:
        first, following = await page(http, "&limit=2")
        assert first == [id_of(3), id_of(2)]
        assert following
        assert await page(http, f"&limit=2&next={following}") == ([id_of(1)], "")
        assert await page(http, "&limit=3&next=") == ([id_of(3), id_of(2), id_of(1)], "")


async def test_a_page_has_20_orders_and_at_most_50() -> None:
    async with history(*(created(id_of(number), at=NOON + number * MINUTE) for number in range(51))) as http:
        first, following = await page(http)
        assert first == [id_of(number) for number in range(50, 30, -1)]
        assert (await page(http, f"&next={following}"))[0] == [id_of(number) for number in range(30, 10, -1)]
        assert len((await page(http, "&limit=50"))[0]) == 50


async def test_a_page_with_filters_leads_to_the_next() -> None:
    async with history(*THREE) as http:
        first, following = await page(http, "&filter[keywords]=pizza&limit=1")
        assert first == [id_of(2)]
        assert await page(http, f"&filter[keywords]=pizza&limit=1&next={following}") == ([id_of(1)], "")


async def test_orders_since() -> None:
    async with history(*THREE) as http:
        assert (await page(http, "&filter[since]=2026-03-01T12:01:00.123456Z"))[0] == [id_of(3), id_of(2)]
        assert (await page(http, "&filter[since]=2026-03-01T14:02:00%2B02:00"))[0] == [id_of(3)]
        assert (await page(http, "&filter[since]=2026-03-02T00:00:00Z"))[0] == []


async def test_orders_of_a_status() -> None:
    async with history(*THREE) as http:
        assert (await page(http, "&filter[status]=Approved"))[0] == [id_of(2)]
        assert (await page(http, "&filter[status]=ApprovalPending"))[0] == [id_of(3), id_of(1)]
        assert (await page(http, "&filter[status]=Cancelled"))[0] == []


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("&filter[keywords]=luigi", [3, 2]),
        ("&filter[keywords]=PIZZA", [2, 1]),
        ("&filter[keywords]=pizza&filter[keywords]=Luigi", [2]),
        ("&filter[keywords]=pizza luigi", [2]),
        ("&filter[keywords]=pizza&filter[keywords]=sushi", []),
        ("&filter[keywords]=pizz", []),
        ("&filter[keywords]=", [3, 2, 1]),
        ("&filter%5Bkeywords%5D=salad&filter%5Bstatus%5D=Approved&filter%5Bsince%5D=2026-03-01T00%3A00%3A00Z", [2]),
    ],
)
async def test_orders_with_words(query: str, numbers: list[int]) -> None:
    async with history(*THREE) as http:
        assert (await page(http, query))[0] == [id_of(number) for number in numbers]


@pytest.mark.parametrize(
    ("query", "beginning"),
    [
        ("", "query.consumerID: Field required"),
        ("consumerID=", "query.consumerID: "),
        ("consumerID=42", "query.consumerID: "),
        (f"consumerID={CONSUMER}&limit=0", "query.limit: "),
        (f"consumerID={CONSUMER}&limit=51", "query.limit: "),
        (f"consumerID={CONSUMER}&limit=all", "query.limit: "),
        (f"consumerID={CONSUMER}&next=42", "query.next: "),
        (f"consumerID={CONSUMER}&next=%00", "query.next: "),
        (f"consumerID={CONSUMER}&filter[since]=yesterday", "query.filter[since]: "),
        (f"consumerID={CONSUMER}&filter[since]=2026-03-01T12:00:00", "query.filter[since]: "),
        (f"consumerID={CONSUMER}&filter[since]=2026-03-01", "query.filter[since]: "),
        (f"consumerID={CONSUMER}&filter[status]=Delivered", "query.filter[status]: "),
        (f"consumerID={CONSUMER}&filter[status]=approved", "query.filter[status]: "),
        (f"consumerID={CONSUMER}&filter[keywords]=a%00b", "query.filter[keywords].0: "),
        (f"consumerID={CONSUMER}&filter[keywords]=a&filter[keywords]={'b' * 1001}", "query.filter[keywords].1: "),
    ],
)
async def test_what_does_not_ask_for_orders(query: str, beginning: str) -> None:
    async with history(*THREE) as http:
        refused(await http.get(f"/api/orders?{query}"), 422, beginning)


async def test_pages_stay_as_they_are_while_orders_come() -> None:
    async with MemorySystem(["order_history"]) as system:
        for it in THREE:
            system.broker.store(it.publication())
        await system.settle()
        http = system.client("order_history")
        first, following = await page(http, "&limit=1")
        system.broker.store(created(OrderId(id_of(9)), at=NOON + timedelta(days=1)).publication())
        await system.settle()
        second, following = await page(http, f"&limit=1&next={following}")
        third, following = await page(http, f"&limit=1&next={following}")
        assert (first, second, third, following) == ([id_of(3)], [id_of(2)], [id_of(1)], "")
        assert (await page(http))[0][0] == id_of(9)
