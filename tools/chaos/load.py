"""The load: consumers, kitchens and couriers who go on as well as they can during faults. A seed determines all."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import httpx

from tools.chaos.record import CLIENT, Outcome, Placed, Record
from tools.demo.api import IDEMPOTENCY_KEY, Api, NoAnswer, Unexpected
from tools.demo.couriers import Couriers
from tools.demo.town import AJANTA, EGG_SHOP, PIZZERIA, Place, address
from tools.verify.facts import Finding

COURIERS = 3
"""Too few for the orders placed: deliveries wait until more couriers come at the end."""
RELIEF = 12
_AHEAD = timedelta(days=1)
"""The delivery time: further ahead than any fault sets a clock, because services refuse times in the past."""
PATIENCE = 30.0
"""Seconds for which a client retries, or waits for something to happen."""
CONCURRENCY = 24
_GIVES_UP = 0.15
"""The share of clients that do not retry when they get no answer."""
_POLL_SECONDS = 0.1

Story = Callable[["_Order"], Awaitable[None]]


@dataclass
class _Order:
    id: str
    quantities: Mapping[str, int]
    random: Random
    ticket_id: str = ""


class Load:
    """Plays `rate` orders per second until `enough()` is called."""

    def __init__(self, api: Api, seed: str, rate: float) -> None:
        self.record = Record()
        self._api = api
        self._seed = seed
        self._rate = rate
        self._couriers = Couriers(api)
        self._restaurants: list[tuple[Place, str]] = []
        self._consumers: list[str] = []
        self._disabled = ""
        self._enough = asyncio.Event()
        self._numbers: dict[str, int] = {}
        self._stories: tuple[tuple[int, Story], ...] = (
            (20, self._only_approved),
            (16, self._cancelled),
            (16, self._revised),
            (8, self._cancelled_and_revised_at_once),
            (8, self._cancelled_too_late),
            (20, self._delivered),
        )

    async def open_town(self) -> None:
        """Create restaurants, consumers (one with a disabled account) and a few couriers. Raises Unexpected."""
        for place in (AJANTA, EGG_SHOP, PIZZERIA):
            id_ = (await self._api.post("restaurant", "/api/restaurants", place.body()))["id"]
            self._restaurants.append((place, id_))
        for name in ("Maria Garcia", "James Chen", "Aisha Johnson", "Daniel Kim"):
            self._consumers.append((await self._api.post("consumer", "/api/consumers", {"name": name}))["id"])
        for _, id_ in self._restaurants:
            for service in ("order", "kitchen"):
                await self._api.until_there(service, f"/api/restaurants/{id_}")
        for id_ in self._consumers:
            await self._api.until_there("accounting", f"/api/accounts/{id_}")
        self._disabled = self._consumers.pop()
        await self._api.put("accounting", f"/api/accounts/{self._disabled}/disable")
        await self._couriers.call(COURIERS)

    async def run(self) -> None:
        """Place orders until `enough()` is called, and wait until their stories end; then call more couriers.

        A system that can't keep up gets fewer orders: no queue of clients builds up.
        """
        free = asyncio.Semaphore(CONCURRENCY)

        async def play(number: int) -> None:
            try:
                await self._play(number)
            finally:
                free.release()

        async with asyncio.TaskGroup() as stories:
            for number in itertools.count():
                began = time.monotonic()
                await free.acquire()
                if self._enough.is_set():
                    break
                stories.create_task(play(number))
                await asyncio.sleep(max(0.0, began + 1 / self._rate - time.monotonic()))
        await self._couriers.call(RELIEF)

    def enough(self) -> None:
        """Stop placing orders."""
        self._enough.set()

    async def probe(self) -> None:
        """Place an order and see it approved. Raises Unexpected when that takes longer than a client's patience."""
        random = self._random("probe")
        order = await self._place(random, self._consumers[0], insists=True)
        if order is None or await self._settled(order) != "Approved":
            raise Unexpected(f"no order was placed and approved within {PATIENCE:g} s")

    async def _play(self, number: int) -> None:
        random = Random(f"{self._seed} order {number}")
        stories = self._stories
        story = random.choices([story for _, story in stories], [weight for weight, _ in stories])[0]
        consumer = self._disabled if random.random() < 0.12 else random.choice(self._consumers)
        order = await self._place(random, consumer)
        if order is not None and await self._settled(order) == "Approved":
            await story(order)

    async def _only_approved(self, order: _Order) -> None:
        """Do nothing more with the approved order."""

    async def _cancelled(self, order: _Order) -> None:
        if order.random.random() < 0.3:
            await self._kitchen(order, "accept")
        await self._change(order, "cancel")

    async def _revised(self, order: _Order) -> None:
        await self._change(order, "revise")
        if await self._settled(order) == "Approved" and order.random.random() < 0.3:
            await self._change(order, "revise")

    async def _cancelled_and_revised_at_once(self, order: _Order) -> None:
        await asyncio.gather(self._change(order, "cancel"), self._change(order, "revise"))

    async def _cancelled_too_late(self, order: _Order) -> None:
        await self._kitchen(order, "accept", "preparing")
        await self._change(order, "cancel")

    async def _delivered(self, order: _Order) -> None:
        await self._kitchen(order, "accept", "preparing", "ready")
        if (await self._shown("delivery", f"/api/deliveries/{order.id}")).get("status") != "SCHEDULED":
            return  # no courier is free: the delivery waits
        await self._kitchen(order, "picked-up")
        if await self._becomes("delivery", f"/api/deliveries/{order.id}", "status", "PICKED_UP"):
            await self._ask(order, "delivery", "POST", f"/api/deliveries/{order.id}/delivered", "delivered")

    async def _place(self, random: Random, consumer: str, *, insists: bool = False) -> _Order | None:
        """Place an order; None when it isn't known to be placed."""
        place, restaurant = random.choice(self._restaurants)
        quantities = {item: random.randint(1, 3) for item in random.sample(sorted(place.menu), 2)}
        mark = _key(random)
        body = {
            "consumer_id": consumer,
            "restaurant_id": restaurant,
            "delivery_time": (datetime.now(UTC) + _AHEAD).isoformat(timespec="seconds"),
            "delivery_address": {**address("9 Amazing View", "94612"), "street2": mark},
            "line_items": quantities,
        }
        outcome, answer = await self._request(
            random, "order", "POST", "/api/orders", body, _key(random), insists=insists
        )
        placed = Placed(mark, outcome, answer.json()["id"] if answer is not None else None)
        self.record.placed.append(placed)
        return _Order(placed.order_id, quantities, random) if placed.order_id else None

    async def _change(self, order: _Order, what: str) -> None:
        body = None
        if what == "revise":
            item = order.random.choice(sorted(order.quantities))
            body = {"revised_quantities": {item: order.random.randint(1, 5)}}
        path = f"/api/orders/{order.id}/{what}"
        await self._ask(order, "order", "PUT", path, what, body, key=_key(order.random))

    async def _kitchen(self, order: _Order, *actions: str) -> None:
        for action in actions:
            ready_by = (datetime.now(UTC) + _AHEAD).isoformat(timespec="seconds")
            body = {"ready_by": ready_by} if action == "accept" else None
            await self._ask(order, "kitchen", "POST", f"/api/tickets/{order.ticket_id}/{action}", action, body)

    async def _ask(
        self,
        order: _Order,
        service: str,
        method: str,
        path: str,
        what: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> None:
        outcome, _ = await self._request(order.random, service, method, path, body, key)
        self.record.changes[order.id, what][outcome] += 1

    async def _request(
        self,
        random: Random,
        service: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        key: str | None,
        *,
        insists: bool = False,
    ) -> tuple[Outcome, httpx.Response | None]:
        """Send a request, retry with the same key as long as there is no answer, or give up.

        A request that is refused after a try without an answer is indeterminate: a paused process can have carried it
        out, or can still do so.
        """
        headers = {IDEMPOTENCY_KEY: key} if key else {}
        give_up = time.monotonic() + PATIENCE
        unanswered = False
        while True:
            try:
                answer = await self._api.once(service, method, path, body, headers)
            except NoAnswer as reason:
                unanswered = unanswered or not reason.unsent
            else:
                if answer.is_success:
                    return Outcome.ACCEPTED, answer
                if answer.is_client_error:
                    return Outcome.INDETERMINATE if unanswered else Outcome.REFUSED, None
                unanswered = True
                self._expect_to_come_again(answer)
            if time.monotonic() >= give_up or (random.random() < _GIVES_UP and not insists):
                return Outcome.INDETERMINATE if unanswered else Outcome.REFUSED, None
            self.record.repeated += 1
            await asyncio.sleep(random.uniform(0.05, 0.3))

    def _expect_to_come_again(self, answer: httpx.Response) -> None:
        """Record a finding unless the answer tells the client to retry later, as it must during a fault."""
        path = answer.request.url.path
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            self.record.findings.append(Finding(CLIENT, f"a request was answered with {answer.status_code}", (path,)))
        elif "Retry-After" not in answer.headers:
            self.record.findings.append(Finding(CLIENT, "a 503 does not say when to come again", (path,)))

    async def _settled(self, order: _Order) -> str:
        """Wait until no saga works on the order; returns its state then, or "" when that takes too long."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            seen = await self._shown("order", f"/api/orders/{order.id}")
            if seen and not seen["state"].endswith("Pending"):
                order.ticket_id = seen["ticket_id"] or ""
                return str(seen["state"])
            await asyncio.sleep(_POLL_SECONDS)
        return ""

    async def _becomes(self, service: str, path: str, name: str, value: str) -> bool:
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            if (await self._shown(service, path)).get(name) == value:
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def _shown(self, service: str, path: str) -> dict[str, Any]:
        """What the service returns; {} when there is nothing, or the service can't answer."""
        try:
            answer = await self._api.once(service, "GET", path, None, {})
        except NoAnswer:
            return {}
        found: dict[str, Any] = answer.json() if answer.is_success else {}
        return found

    def _random(self, purpose: str) -> Random:
        number = self._numbers[purpose] = self._numbers.get(purpose, 0) + 1
        return Random(f"{self._seed} {purpose} {number}")


def _key(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))
