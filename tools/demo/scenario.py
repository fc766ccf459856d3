"""The demo's scenario: five stories, played one after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.core.ids import new_id
from tools.demo.api import IDEMPOTENCY_KEY, Api, Unexpected
from tools.demo.couriers import Couriers
from tools.demo.orders import CANCELLED, DELIVERED, REJECTED, DemoOrder, Ending, difference
from tools.demo.screen import Screen
from tools.demo.town import AJANTA, EGG_SHOP, PIZZERIA, Place, address
from tools.explain.message_words import dollars, short

COURIERS = 2
RUSH = 100
"""How many orders at most are placed to keep every free courier busy."""
CONCURRENCY = 8
COOKING = timedelta(minutes=20)


class Scenario:
    """Plays the consumers, the restaurants' staff and the couriers. `act` is called before each thing they do."""

    def __init__(self, api: Api, screen: Screen, act: Callable[[], Awaitable[None]]) -> None:
        """Prepare the scenario; `play()` runs it."""
        self.orders: list[DemoOrder] = []
        self.failures: list[str] = []
        self._api = api
        self._screen = screen
        self._act = act
        self._couriers = Couriers(api)
        self._restaurants: dict[str, str] = {}

    async def play(self) -> None:
        """Play all stories. What goes wrong is added to `failures`. Raises Unexpected when the scenario can't begin."""
        await self._open_the_town()
        try:
            for story in (self._delivered, self._revised, self._cancelled, self._rejected, self._shortage):
                try:
                    await story()
                except Unexpected as error:
                    self._fail(f"A part of the demo could not be played: {error}.")
        finally:
            try:
                await self._couriers.go_home()
            except Unexpected as error:
                self._fail(f"The couriers could not go off duty: {error}.")

    def _fail(self, failure: str) -> None:
        self.failures.append(failure)
        self._screen.complain(failure)

    async def _open_the_town(self) -> None:
        self._screen.chapter("The town opens", "Other services learn from messages who is new.")
        for place in (AJANTA, EGG_SHOP, PIZZERIA):
            id_ = (await self._api.post("restaurant", "/api/restaurants", place.body()))["id"]
            self._restaurants[place.name] = id_
            self._screen.say(f"{place.name} opens, with {len(place.menu)} dishes on its menu.")
        for id_ in self._restaurants.values():
            for service in ("order", "kitchen"):
                await self._api.until_there(service, f"/api/restaurants/{id_}")
        await self._couriers.call(COURIERS)
        self._screen.say("Two couriers go on duty.")

    async def _delivered(self) -> None:
        self._screen.chapter(
            "1. From the cart to the door", "The create-order saga asks consumer, kitchen and accounting for approval."
        )
        consumer = await self._register("Maria Garcia")
        quantities = {"chicken-vindaloo": 2, "garlic-naan": 3, "mango-lassi": 2}
        order = self._order("Delivered", consumer, AJANTA, quantities, DELIVERED)
        async with self._story(order):
            await self._place(order, "Maria Garcia")
            await self._approved(order)
            await self._accept(order)
            await self._scheduled(order)
            await self._cook(order)
            await self._bring(order)

    async def _revised(self) -> None:
        self._screen.chapter(
            "2. A revision", "Order, ticket and authorization change together, or not at all: a saga sees to it."
        )
        consumer = await self._register("James Chen")
        order = self._order(
            "Revised, then delivered", consumer, PIZZERIA, {"margherita": 2, "tiramisu": 1, "acqua-frizzante": 2}, {}
        )
        async with self._story(order):
            await self._place(order, "James Chen")
            await self._approved(order)
            order.quantities = {"margherita": 3, "acqua-frizzante": 2}
            changed = {"total": order.total, "lines": order.quantities, "authorized amount": order.total}
            await self._act()
            self._screen.say(
                f"James Chen wants one more Pizza Margherita and no Tiramisù: {dollars(order.total)}.", order
            )
            await self._ask_order(order, "revise", {"revised_quantities": {"margherita": 3, "tiramisu": 0}})
            await self._ends(order, {"state": "Approved", "lines of the ticket": order.quantities, **changed})
            await self._accept(order)
            await self._scheduled(order)
            await self._cook(order)
            order.ending = {**DELIVERED, **changed}
            await self._bring(order)

    async def _cancelled(self) -> None:
        self._screen.chapter(
            "3. A cancellation", "The kitchen agrees, the money is released, and the courier is free again."
        )
        consumer = await self._register("Aisha Johnson")
        ending = {**CANCELLED, "authorized amount": 0}
        quantities = {"eggs-benedict": 1, "home-fries": 1, "orange-juice": 2}
        order = self._order("Cancelled", consumer, EGG_SHOP, quantities, ending)
        async with self._story(order):
            await self._place(order, "Aisha Johnson")
            await self._approved(order)
            await self._accept(order)
            await self._scheduled(order)
            await self._act()
            self._screen.say("Aisha Johnson cancels.", order)
            await self._ask_order(order, "cancel")

    async def _rejected(self) -> None:
        self._screen.chapter(
            "4. A rejected order", "Accounting refuses: the saga undoes what the kitchen has done, and says why."
        )
        consumer = await self._register("Daniel Kim")
        await self._api.until_there("accounting", f"/api/accounts/{consumer}")
        await self._api.put("accounting", f"/api/accounts/{consumer}/disable")
        self._screen.say("Daniel Kim's account is disabled.")
        ending = {**REJECTED, "authorized amount": 0}
        order = self._order("Rejected", consumer, AJANTA, {"lamb-rogan-josh": 1, "vegetable-samosas": 2}, ending)
        async with self._story(order):
            await self._place(order, "Daniel Kim")

    async def _shortage(self) -> None:
        self._screen.chapter(
            "5. A courier shortage", "Orders are accepted until no courier is free; then one has to wait for a courier."
        )
        await self._couriers.keep_free(COURIERS)
        consumer = await self._register("Sofia Rossi")
        rush: list[DemoOrder] = []
        waiting: DemoOrder | None = None
        while waiting is None and len(rush) < RUSH:
            quantities = {"diavola": 1 + len(rush) % 3, "insalata-mista": 1}
            order = self._order("Rush hour, delivered", consumer, PIZZERIA, quantities, DELIVERED)
            rush.append(order)
            async with self._complaining(order):
                await self._place(order, "Sofia Rossi")
                await self._approved(order)
                if not await self._accept(order):
                    waiting = order
            if order.failed:
                break
        if waiting is not None:
            rush.remove(waiting)
            waiting.story = "Waited for a courier, delivered"
            self._screen.say("No courier is free: the delivery is PENDING, and waits.", waiting)
            await self._resolve(rush, waiting)
        elif len(rush) == RUSH:
            self._screen.say(f"{RUSH} orders found a courier each: too many are free to show a shortage.")
        left = [order for order in rush if not order.has_ended and not order.failed]
        for begin in range(0, len(left), CONCURRENCY):
            await asyncio.gather(*(self._finish(order) for order in left[begin : begin + CONCURRENCY]))

    async def _resolve(self, rush: list[DemoOrder], waiting: DemoOrder) -> None:
        """Deliver one order after the other: each frees a courier, who takes the delivery that has waited longest."""
        async with self._story(waiting):
            for order in rush:
                await self._finish(order)
                if (await self._delivery(waiting))["status"] != "PENDING":
                    break
            await self._scheduled(waiting)
            await self._cook(waiting)
            await self._bring(waiting)

    async def _finish(self, order: DemoOrder) -> None:
        async with self._story(order):
            await self._cook(order)
            await self._bring(order)

    async def _register(self, name: str) -> str:
        id_: str = (await self._api.post("consumer", "/api/consumers", {"name": name}))["id"]
        return id_

    def _order(self, story: str, consumer: str, place: Place, quantities: dict[str, int], ending: Ending) -> DemoOrder:
        order = DemoOrder(len(self.orders) + 1, story, consumer, place, quantities, ending)
        self.orders.append(order)
        return order

    @asynccontextmanager
    async def _story(self, order: DemoOrder) -> AsyncIterator[None]:
        """Play an order's story in the `with` block, then check that the order ends as expected."""
        async with self._complaining(order):
            yield
            await self._ends(order, order.ending)
            order.has_ended = True

    @asynccontextmanager
    async def _complaining(self, order: DemoOrder) -> AsyncIterator[None]:
        try:
            yield
        except Unexpected as error:
            order.failed = True
            self._fail(f"{order.name} did not go as it should: {error}.")

    async def _place(self, order: DemoOrder, consumer: str) -> None:
        await self._act()
        self._screen.add(order)
        menu = order.place.menu
        dishes = ", ".join(f"{quantity} × {menu[item][0]}" for item, quantity in order.quantities.items())
        self._screen.say(f"{consumer} orders {dishes} at {order.place.name}: {dollars(order.total)}.", order)
        body = {
            "consumer_id": order.consumer,
            "restaurant_id": self._restaurants[order.place.name],
            "delivery_time": _in(timedelta(hours=1)),
            "delivery_address": address("9 Amazing View", "94612"),
            "line_items": order.quantities,
        }
        headers = {**_headers(order), IDEMPOTENCY_KEY: new_id()}
        order.id = (await self._api.post("order", "/api/orders", body, headers))["id"]

    async def _approved(self, order: DemoOrder) -> None:
        await self._ends(order, {"state": "Approved"})
        found = await self._api.until_there("order", f"/api/orders/{order.id}")
        order.ticket_id = found["ticket_id"]

    async def _ask_order(self, order: DemoOrder, what: str, body: dict[str, Any] | None = None) -> None:
        headers = {**_headers(order), IDEMPOTENCY_KEY: new_id()}
        await self._api.put("order", f"/api/orders/{order.id}/{what}", body, headers)

    async def _ask_kitchen(self, order: DemoOrder, what: str, body: dict[str, Any] | None = None) -> None:
        await self._api.post("kitchen", f"/api/tickets/{order.ticket_id}/{what}", body, _headers(order))

    async def _accept(self, order: DemoOrder) -> bool:
        """Let the kitchen accept the order; return whether a courier was free."""
        await self._act()
        self._screen.say(f"{order.place.name} accepts: it will be ready in 20 minutes.", order)
        await self._ask_kitchen(order, "accept", {"ready_by": _in(COOKING)})
        delivery = await self._api.until(
            lambda: self._delivery(order),
            lambda delivery: delivery.get("ready_by") is not None,
            lambda _: "its delivery has not learned that the kitchen has accepted",
        )
        return bool(delivery["status"] != "PENDING")

    async def _scheduled(self, order: DemoOrder) -> None:
        delivery = await self._api.until(
            lambda: self._delivery(order),
            lambda delivery: delivery.get("status") == "SCHEDULED",
            lambda delivery: f"its delivery is {delivery.get('status', 'missing')} instead of SCHEDULED",
            meanwhile=lambda: self._couriers.see_that_one_comes(order.id),
        )
        self._screen.say(f"Courier {short(delivery['assigned_courier'])} takes the delivery.", order)

    async def _cook(self, order: DemoOrder) -> None:
        for path, text in (("preparing", "starts cooking"), ("ready", "has it ready")):
            await self._act()
            self._screen.say(f"{order.place.name} {text}.", order)
            await self._ask_kitchen(order, path)

    async def _bring(self, order: DemoOrder) -> None:
        await self._act()
        self._screen.say("The courier picks it up.", order)
        await self._ask_kitchen(order, "picked-up")
        await self._ends(order, {"delivery": "PICKED_UP"})
        await self._act()
        self._screen.say("The courier delivers it.", order)
        await self._api.post("delivery", f"/api/deliveries/{order.id}/delivered", None, _headers(order))

    async def _delivery(self, order: DemoOrder) -> dict[str, Any]:
        return await self._api.get("delivery", f"/api/deliveries/{order.id}") or {}

    async def _ends(self, order: DemoOrder, ending: Ending) -> None:
        """Wait until the order has its expected end."""
        await self._api.until(
            lambda: self._find(order, ending),
            lambda found: not difference(ending, found),
            lambda found: difference(ending, found),
        )

    async def _find(self, order: DemoOrder, ending: Ending) -> Ending:
        """Ask each service for the values that the expected end names."""
        found: Ending = {}
        if seen := await self._api.get("order", f"/api/orders/{order.id}"):
            found |= {"state": seen["state"], "rejection": seen["rejection"], "total": seen["order_total"]}
            found["lines"] = _quantities(seen)
        if {"ticket", "lines of the ticket"} & ending.keys():
            seen = await self._api.get("kitchen", f"/api/tickets?order_id={order.id}")
            for ticket in seen["tickets"] if seen else ():
                found |= {"ticket": ticket["status"], "lines of the ticket": _quantities(ticket)}
        if "delivery" in ending:
            found["delivery"] = (await self._delivery(order)).get("status")
        if "authorized amount" in ending and (
            seen := await self._api.get("accounting", f"/api/accounts/{order.consumer}")
        ):
            found["authorized amount"] = seen["authorized_total"]
        if "state in the history" in ending and (
            seen := await self._api.get("order_history", f"/api/orders/{order.id}")
        ):
            found |= {"state in the history": seen["status"], "delivery in the history": seen["delivery_status"]}
        return found


def _headers(order: DemoOrder) -> dict[str, str]:
    return {"X-Correlation-Id": order.correlation_id}


def _quantities(body: dict[str, Any]) -> dict[str, int]:
    return {line["menu_item_id"]: line["quantity"] for line in body["line_items"]}


def _in(time: timedelta) -> str:
    return (datetime.now(UTC) + time).isoformat(timespec="seconds")
