"""Whatever changes something, in any service, can be sent again with its `Idempotency-Key`: it is done once.

Each operation is called in the course of one story. When the story is over, and most of its requests would be refused
or would do something else, all of them are sent again.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx

from kernel.topology import BY_NAME
from shared.core.errors import IdempotencyKeyReused
from shared.testing.system import MemorySystem
from tests.api import ADDRESS, CART, DELIVER_AT, MENU

CHANGING = ("post", "put", "patch", "delete")


@dataclass(frozen=True)
class Sent:
    """A request, and its first answer."""

    service: str
    method: str
    operation: str
    path: str
    body: Any
    key: str
    answer: httpx.Response


class Story:
    """Sends requests, each with a key of its own, and lets what follows from them happen."""

    def __init__(self, system: MemorySystem) -> None:
        self.system = system
        self.sent: list[Sent] = []

    async def send(self, service: str, method: str, operation: str, body: Any = None, **names: str) -> Any:
        """The answer's JSON. `names` are what the operation's path leaves open."""
        path, key = operation.format(**names), str(uuid4())
        answer = await self.again(service, method, path, body, key)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        self.sent.append(Sent(service, method, operation, path, body, key, answer))
        await self.system.settle()
        return answer.json() if answer.content else None

    async def again(self, service: str, method: str, path: str, body: Any, key: str) -> httpx.Response:
        """Sends a request with a key."""
        client = self.system.client(service)
        return await client.request(method, path, json=body, headers={"Idempotency-Key": key})

    async def tell(self) -> None:
        """Has every operation called."""
        send = self.send
        restaurant = await send(
            *("restaurant", "POST", "/api/restaurants"),
            {"name": "Ajanta", "address": ADDRESS, "menu": {"menu_items": []}},
        )
        await send("restaurant", "PUT", "/api/restaurants/{id}/menu", {"menu_items": MENU}, **restaurant)
        consumer = await send("consumer", "POST", "/api/consumers", {"name": "Ada"})
        await send("consumer", "PUT", "/api/consumers/{id}", {"name": "Ada L."}, **consumer)
        await send("consumer", "PUT", "/api/consumers/{id}/rename", {"name": "Ada Lovelace"}, **consumer)
        await send(
            *("consumer", "POST", "/api/consumers/{id}/addresses"),
            {"address_id": "home", "address": ADDRESS},
            **consumer,
        )
        home = {**consumer, "address_id": "home"}
        await send(
            "consumer",
            "PUT",
            "/api/consumers/{id}/addresses/{address_id}",
            {"address": ADDRESS},
            **home,
        )
        await send("consumer", "DELETE", "/api/consumers/{id}/addresses/{address_id}", **home)
        await send("accounting", "PUT", "/api/accounts/{id}/disable", **consumer)
        await send("accounting", "PUT", "/api/accounts/{id}/enable", **consumer)
        await send("delivery", "POST", "/api/couriers/{id}/availability", {"available": True}, id=str(uuid4()))
        order = await self._order(consumer["id"], restaurant["id"])
        await send("order", "PUT", "/api/orders/{id}/revise", {"revised_quantities": {"naan": 3}}, **order)
        (ticket,) = (await self.system.client("kitchen").get(f"/api/tickets?order_id={order['id']}")).json()["tickets"]
        ready_by = (self.system.clock() + timedelta(minutes=20)).isoformat()
        await send("kitchen", "POST", "/api/tickets/{id}/accept", {"ready_by": ready_by}, id=ticket["id"])
        for action in ("preparing", "ready", "picked-up"):
            await send("kitchen", "POST", f"/api/tickets/{{id}}/{action}", id=ticket["id"])
        await send("delivery", "POST", "/api/deliveries/{id}/delivered", **order)
        await send("order", "PUT", "/api/orders/{id}/cancel", **await self._order(consumer["id"], restaurant["id"]))
        await send("consumer", "DELETE", "/api/consumers/{id}", **consumer)

    async def _order(self, consumer_id: str, restaurant_id: str) -> Any:
        body = {
            "consumer_id": consumer_id,
            "restaurant_id": restaurant_id,
            "delivery_time": DELIVER_AT,
            "delivery_address": ADDRESS,
            "line_items": CART,
        }
        return await self.send("order", "POST", "/api/orders", body)

    def everything(self) -> list[str]:
        """All that the services have stored."""
        databases = [service.database for service in self.system.services.values()]
        events = [repr(stored) for database in databases for stored in database.events.values() if stored]
        return events + [repr((database.tables, database.outbox)) for database in databases]

    def changing(self) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        """Every operation of every service that changes something."""
        for name, service in self.system.services.items():
            for path, operations in service.container.app().openapi()["paths"].items():
                for method in operations.keys() & CHANGING:
                    yield name, method.upper(), path, operations[method]


@asynccontextmanager
async def a_story() -> AsyncIterator[Story]:
    """One that has been told."""
    async with MemorySystem(BY_NAME) as system:
        told = Story(system)
        await told.tell()
        yield told


async def test_every_changing_operation_takes_a_key_and_was_called() -> None:
    async with a_story() as story:
        documented = set()
        for service, method, path, operation in story.changing():
            documented.add((service, method, path))
            assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}, path
            assert IdempotencyKeyReused.text in str(operation["responses"]["422"]), path
        assert documented == {(sent.service, sent.method, sent.operation) for sent in story.sent}


async def test_what_is_sent_again_is_answered_as_the_first_time_and_does_nothing() -> None:
    async with a_story() as story:
        before = story.everything()
        for sent in story.sent:
            answer = await story.again(sent.service, sent.method, sent.path, sent.body, sent.key)
            assert (answer.status_code, answer.content) == (sent.answer.status_code, sent.answer.content), sent
            await story.system.settle()
        assert story.everything() == before


async def test_a_key_that_was_used_for_another_body_is_refused() -> None:
    async with a_story() as story:
        before = story.everything()
        for sent in story.sent:
            content = b" " if sent.body is None else json.dumps(sent.body).encode()
            headers = {"Idempotency-Key": sent.key, "Content-Type": "application/json"}
            client = story.system.client(sent.service)
            answer = await client.request(sent.method, sent.path, content=content, headers=headers)
            assert (answer.status_code, answer.json()["message"]) == (422, IdempotencyKeyReused.text), sent
        assert story.everything() == before
