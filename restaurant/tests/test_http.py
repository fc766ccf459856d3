"""The restaurant service's HTTP API, on a memory database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from shared.core.ids import new_id
from shared.testing.system import MemorySystem

ADDRESS = {"street1": "1 Main Street", "street2": None, "city": "Oakland", "state": "CA", "zip": "94611"}
PIZZA = {"id": "pizza", "name": "Pizza Margherita", "price": 1250}
WATER = {"id": "water", "name": "Tap water", "price": 0}
AJANTA: dict[str, Any] = {"name": "Ajanta", "address": ADDRESS, "menu": {"menu_items": [PIZZA, WATER]}}


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with MemorySystem(["restaurant"]) as system:
        yield system.client("restaurant")


async def opened(http: httpx.AsyncClient) -> str:
    answer = await http.post("/api/restaurants", json=AJANTA)
    assert answer.status_code == 201, answer.text
    assert answer.json().keys() == {"id"}
    return str(answer.json()["id"])


def refused(answer: httpx.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["message"] == problem["detail"]
    if message is not None:
        assert problem["message"] == message


async def test_a_restaurant_is_opened_and_looked_up() -> None:
    async with client() as http:
        id_ = await opened(http)
        answer = await http.get(f"/api/restaurants/{id_}")
        assert (answer.status_code, answer.json()) == (200, {"id": id_, **AJANTA})


async def test_the_menu_is_revised() -> None:
    async with client() as http:
        id_ = await opened(http)
        answer = await http.put(f"/api/restaurants/{id_}/menu", json={"menu_items": [{**PIZZA, "price": 1400}]})
        assert (answer.status_code, answer.json()) == (200, {"id": id_})
        menu = (await http.get(f"/api/restaurants/{id_}")).json()["menu"]
        assert menu == {"menu_items": [{**PIZZA, "price": 1400}]}


async def test_a_menu_may_be_empty() -> None:
    async with client() as http:
        answer = await http.post("/api/restaurants", json={**AJANTA, "menu": {"menu_items": []}})
        assert answer.status_code == 201
        answer = await http.put(f"/api/restaurants/{await opened(http)}/menu", json={"menu_items": []})
        assert answer.status_code == 200


async def test_a_restaurant_that_does_not_exist() -> None:
    async with client() as http:
        refused(await http.get(f"/api/restaurants/{new_id()}"), 404, "restaurant not found")
        answer = await http.put(f"/api/restaurants/{new_id()}/menu", json={"menu_items": []})
        refused(answer, 404, "restaurant not found")


@pytest.mark.parametrize(
    "body",
    [
        {**AJANTA, "name": ""},
        {**AJANTA, "name": 5},
        {**AJANTA, "name": "x" * 1001},
        {**AJANTA, "cuisine": "Indian"},
        {key: value for key, value in AJANTA.items() if key != "name"},
        {key: value for key, value in AJANTA.items() if key != "address"},
        {key: value for key, value in AJANTA.items() if key != "menu"},
        {**AJANTA, "address": {**ADDRESS, "zip": None}},
        {**AJANTA, "address": {**ADDRESS, "planet": "Earth"}},
    ],
)
async def test_a_restaurant_that_is_not_as_the_schema_says(body: dict[str, Any]) -> None:
    async with client() as http:
        refused(await http.post("/api/restaurants", json=body), 422)


@pytest.mark.parametrize(
    "items",
    [
        [PIZZA, {**WATER, "id": "pizza"}],
        [{**PIZZA, "price": -1}],
        [{**PIZZA, "price": 12.5}],
        [{**PIZZA, "price": "a lot"}],
        [{**PIZZA, "id": ""}],
        [{**PIZZA, "name": ""}],
        [{"id": "pizza", "name": "Pizza"}],
        [{**PIZZA, "vegan": True}],
        "pizza",
    ],
)
async def test_a_menu_that_is_not_as_the_schema_says(items: object) -> None:
    async with client() as http:
        id_ = await opened(http)
        refused(await http.post("/api/restaurants", json={**AJANTA, "menu": {"menu_items": items}}), 422)
        refused(await http.put(f"/api/restaurants/{id_}/menu", json={"menu_items": items}), 422)
        assert (await http.get(f"/api/restaurants/{id_}")).json()["menu"] == AJANTA["menu"]


async def test_what_is_no_request_at_all() -> None:
    async with client() as http:
        malformed: dict[str, Any] = {"content": b'{"name": ', "headers": {"content-type": "application/json"}}
        refused(await http.post("/api/restaurants", **malformed), 400)
        refused(await http.put(f"/api/restaurants/{new_id()}/menu", **malformed), 400)
        refused(await http.post("/api/restaurants", json={**AJANTA, "name": "x" * (1 << 20)}), 413)
        refused(await http.get("/api/restaurants/42"), 422)
        refused(await http.put("/api/restaurants/42/menu", json={"menu_items": []}), 422)


async def test_of_a_menu_the_first_item_that_is_none_is_named() -> None:
    async with MemorySystem(["restaurant"]) as system:
        items = [{"id": "a"}, {"id": "b"}]
        answer = await system.client("restaurant").put(f"/api/restaurants/{new_id()}/menu", json={"menu_items": items})
    assert answer.status_code == 422
    assert "menu_items.0.name" in answer.json()["message"]
    assert "menu_items.1" not in answer.json()["message"]
