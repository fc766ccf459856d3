"""Orders that are followed from the request to the delivery, which the benchmark's load does not do."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from shared.core.ids import new_id
from tools.demo.api import IDEMPOTENCY_KEY, Api
from tools.demo.couriers import Couriers
from tools.demo.town import AJANTA, EGG_SHOP, PIZZERIA, Place, address


class Deliveries:
    """Clients, each of whom sees an order delivered before placing the next, until `enough()` is called."""

    def __init__(self, api: Api, clients: int) -> None:
        self.placed = 0
        self.delivered = 0
        self._api = api
        self._clients = clients
        self._random = Random(clients)  # noqa: S311 - not a secret
        self._restaurants: list[tuple[Place, str]] = []
        self._consumers: list[str] = []
        self._enough = False

    async def run(self) -> None:
        """Have orders placed and delivered. Raises Unexpected when something is late or refused."""
        await self._open_town()
        async with asyncio.TaskGroup() as clients:
            for consumer in self._consumers:
                clients.create_task(self._order_again_and_again(consumer))

    def enough(self) -> None:
        """Stop placing orders."""
        self._enough = True

    async def _open_town(self) -> None:
        for place in (AJANTA, EGG_SHOP, PIZZERIA):
            id_ = (await self._api.post("restaurant", "/api/restaurants", place.body()))["id"]
            self._restaurants.append((place, id_))
            for service in ("order", "kitchen"):
                await self._api.until_there(service, f"/api/restaurants/{id_}")
        for number in range(self._clients):
            id_ = (await self._api.post("consumer", "/api/consumers", {"name": f"Consumer {number}"}))["id"]
            self._consumers.append(id_)
            await self._api.until_there("accounting", f"/api/accounts/{id_}")
        await Couriers(self._api).call(self._clients)

    async def _order_again_and_again(self, consumer: str) -> None:
        while not self._enough:
            self.placed += 1
            place, restaurant = self._random.choice(self._restaurants)
            body = {
                "consumer_id": consumer,
                "restaurant_id": restaurant,
                "delivery_time": _in(minutes=60),
                "delivery_address": address("9 Amazing View", "94612"),
                "line_items": {item: self._random.randint(1, 3) for item in self._random.sample(sorted(place.menu), 2)},
            }
            answer = await self._api.post("order", "/api/orders", body, {IDEMPOTENCY_KEY: new_id()})
            await self._deliver(await self._seen("order", f"/api/orders/{answer['id']}", "state", "Approved"))
            self.delivered += 1

    async def _deliver(self, order: dict[str, Any]) -> None:
        ticket, delivery = f"/api/tickets/{order['ticket_id']}", f"/api/deliveries/{order['order_id']}"
        # That the order is Approved can be seen a moment before the kitchen's own commit is visible there.
        await self._seen("kitchen", ticket, "status", "AwaitingAcceptance")
        await self._api.post("kitchen", f"{ticket}/accept", {"ready_by": _in(minutes=20)})
        for action in ("preparing", "ready"):
            await self._api.post("kitchen", f"{ticket}/{action}")
        await self._seen("delivery", delivery, "status", "SCHEDULED")
        await self._api.post("kitchen", f"{ticket}/picked-up")
        await self._seen("delivery", delivery, "status", "PICKED_UP")
        await self._api.post("delivery", f"{delivery}/delivered")

    async def _seen(self, service: str, path: str, name: str, value: str) -> dict[str, Any]:
        """Wait until the condition holds."""

        async def look() -> dict[str, Any]:
            return await self._api.get(service, path) or {}

        return await self._api.until(
            look, lambda seen: seen.get(name) == value, lambda seen: f"{path} is {seen.get(name)} and not {value}"
        )


def _in(*, minutes: int) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="seconds")
