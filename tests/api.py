"""The system as its clients see it: what the system tests ask it, over HTTP."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

ADDRESS = {"street1": "1 Main Street", "city": "Oakland", "state": "CA", "zip": "94611"}
MENU = [
    {"id": "vindaloo", "name": "Chicken Vindaloo", "price": 1195},
    {"id": "naan", "name": "Garlic Naan", "price": 350},
]
CART = {"vindaloo": 2, "naan": 1}
TOTAL = 2 * 1195 + 350
DELIVER_AT = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
"""The same for all: a request that is sent again with its key has to have the same body."""
PATIENCE = 30.0
"""Seconds that anything may take before a test gives up on it."""


class TryAgain(Exception):
    """The service could not be reached, or asked its client to come again: the request may or may not have worked."""


class Api:
    """Calls of all services. An async context manager."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._clients = {
            name: httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) for name, url in urls.items()
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def call(self, service: str, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON; TryAgain when there is none, AssertionError when it is a refusal."""
        try:
            response = await self._clients[service].request(method, path, **options)
        except httpx.TransportError as error:
            raise TryAgain from error
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise TryAgain(response.text)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    async def refused(self, service: str, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Status and message of a refusal."""
        response = await self._clients[service].request(method, path, **options)
        assert not response.is_success, response.text
        return response.status_code, response.json()["message"]

    async def register_consumer(self) -> str:
        """A consumer whose account exists."""
        consumer_id: str = (await self.call("consumer", "POST", "/api/consumers", json={"name": "Ada"}))["id"]
        await self.known("accounting", f"/api/accounts/{consumer_id}")
        return consumer_id

    async def open_restaurant(self) -> str:
        """A restaurant that everybody knows."""
        body = {"name": "Ajanta", "address": ADDRESS, "menu": {"menu_items": MENU}}
        restaurant_id: str = (await self.call("restaurant", "POST", "/api/restaurants", json=body))["id"]
        for service in ("order", "kitchen"):
            await self.known(service, f"/api/restaurants/{restaurant_id}")
        return restaurant_id

    async def courier(self) -> str:
        """A courier who is available."""
        courier_id = str(uuid4())
        await self.call("delivery", "POST", f"/api/couriers/{courier_id}/availability", json={"available": True})
        return courier_id

    async def place_order(self, consumer_id: str, restaurant_id: str, key: str | None = None) -> str:
        """The order's id."""
        body = {
            "consumer_id": consumer_id,
            "restaurant_id": restaurant_id,
            "delivery_time": DELIVER_AT,
            "delivery_address": ADDRESS,
            "line_items": CART,
        }
        headers = {"Idempotency-Key": key} if key else {}
        order: str = (await self.call("order", "POST", "/api/orders", json=body, headers=headers))["id"]
        return order

    async def approved_order(self, consumer_id: str, restaurant_id: str) -> tuple[str, str]:
        """Ids of an approved order and its ticket."""
        order_id = await self.place_order(consumer_id, restaurant_id)
        order = await self.order_becomes(order_id, "Approved")
        return order_id, order["ticket_id"]

    async def order_becomes(self, order_id: str, state: str) -> Any:
        """Waits until the order is in that state."""
        return await self.becomes("order", f"/api/orders/{order_id}", lambda order: order["state"] == state)

    async def ticket(self, ticket_id: str, *actions: str) -> None:
        """Takes a ticket through actions of the kitchen."""
        for action in actions:
            body = {"ready_by": (datetime.now(UTC) + timedelta(minutes=30)).isoformat()} if action == "accept" else None
            await self.call("kitchen", "POST", f"/api/tickets/{ticket_id}/{action}", json=body)

    async def known(self, service: str, path: str) -> Any:
        """Waits until a service knows what the path names."""
        return await self.becomes(service, path, lambda _: True)

    async def becomes(self, service: str, path: str, condition: Callable[[Any], bool]) -> Any:
        """Waits until what the path names fulfils the condition."""
        seen: Any = None

        async def met() -> bool:
            nonlocal seen
            try:
                response = await self._clients[service].get(path)
            except httpx.TransportError:
                return False
            seen = response.json()
            return response.is_success and condition(seen)

        await until(met, lambda: f"{service} {path} shows {seen}")
        return seen


async def until(condition: Callable[[], Awaitable[bool]], describe: Callable[[], str]) -> None:
    """Waits for a condition; AssertionError with the description when it does not come about."""
    give_up = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < give_up, describe()
        await asyncio.sleep(0.02)
