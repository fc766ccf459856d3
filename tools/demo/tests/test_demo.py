"""The demo's stories, played in memory, and what it says when they end badly."""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from rich.console import Console

from kernel.topology import BY_NAME
from shared.messaging.envelope import Envelope
from shared.testing.system import MemorySystem
from tools.demo.api import Api
from tools.demo.command import tell
from tools.demo.couriers import Couriers
from tools.demo.orders import difference
from tools.demo.scenario import COURIERS, Scenario
from tools.demo.screen import Screen, summary, timelines
from tools.demo.town import PIZZERIA, address
from tools.explain.message_log import EVER_SINCE
from tools.explain.timeline import Kind

NAMES = tuple(BY_NAME)


class MemoryLog:
    """The messages of a memory system, for explain's timelines."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    async def since(self, _moment: datetime) -> AsyncGenerator[Envelope]:
        position = 1
        while stored := self._system.broker.stored_at(position):
            yield Envelope.from_headers(stored[1].headers, stored[1].data)
            position += 1

    def follow(self, moment: datetime) -> AsyncGenerator[Envelope]:
        return self.since(moment)


class Stage:
    """A demo on a system in memory, where time passes while the demo waits."""

    def __init__(self, system: MemorySystem, patience: float = 5) -> None:
        self.system = system
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=160, highlight=False)
        self.log = MemoryLog(system)
        away = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(503)), base_url="http://away")
        clients = {name: system.client(name) if name in system.services else away for name in NAMES}
        self.api = Api(clients, self.settle, patience)
        self.screen = Screen(self.console)
        self._one_at_a_time = asyncio.Lock()
        self.scenario = Scenario(self.api, self.screen, act=self.settle)

    async def settle(self) -> None:
        async with self._one_at_a_time:
            await self.system.settle()

    def another(self) -> Scenario:
        """Return a second demo on the same system."""
        return Scenario(self.api, Screen(self.console), act=self.settle)

    @property
    def text(self) -> str:
        return self.output.getvalue()


@asynccontextmanager
async def staged(*without: str, patience: float = 5) -> AsyncIterator[Stage]:
    async with MemorySystem(name for name in NAMES if name not in without) as system:
        yield Stage(system, patience)


async def test_all_stories_end_where_they_should() -> None:
    async with staged() as stage:
        await stage.scenario.play()
        async for message in stage.log.since(EVER_SINCE):
            stage.screen.take(message)
        assert stage.scenario.failures == []
        told = await tell(stage.log, stage.scenario.orders)
        timelines(stage.console, [(order, told[order.id]) for order in stage.scenario.orders], 0)
        summary(stage.console, stage.scenario.orders, told, stage.scenario.failures)

    orders = {order.story: order for order in stage.scenario.orders}
    assert list(orders) == [
        "Delivered",
        "Revised, then delivered",
        "Cancelled",
        "Rejected",
        "Rush hour, delivered",
        "Waited for a courier, delivered",
    ]
    assert len(stage.scenario.orders) == 4 + COURIERS + 1
    assert all(order.has_ended for order in stage.scenario.orders)
    assert "order Rejected · ticket Cancelled · delivery CANCELLED" in stage.text
    assert "All 7 orders ended where they should." in stage.text

    # One correlation id for a whole life; the courier of the one who waited came with another order's.
    assert all(told[order.id].correlation_ids[0] == order.correlation_id for order in orders.values())
    assert {len(told[order.id].correlation_ids) for order in orders.values()} == {1, 2}
    waited = [entry.name for entry in told[orders["Waited for a courier, delivered"].id].entries]
    assert waited.index("DeliveryScheduled") > waited.index("TicketAccepted") + 1
    rejected = told[orders["Rejected"].id]
    assert [(entry.name, entry.kind) for entry in rejected.entries if entry.mark and entry.mark.undoing] == [
        ("CancelCreateTicket", Kind.COMMAND),
        ("Done", Kind.REPLY),
        ("OrderRejected", Kind.EVENT),
    ]


async def test_on_a_used_system_with_free_couriers_of_others() -> None:
    async with staged() as stage:
        await Couriers(stage.api).call(3)
        await stage.scenario.play()
        assert stage.scenario.failures == []
        assert len(stage.scenario.orders) == 4 + COURIERS + 3 + 1
        assert stage.scenario.orders[-1].story == "Waited for a courier, delivered"


async def test_on_a_used_system_with_orders_that_nobody_brings() -> None:
    async with staged() as stage:
        for _ in range(5):
            await accepted_order(stage.api)
        await stage.scenario.play()
        assert stage.scenario.failures == []


async def accepted_order(api: Api) -> None:
    """Leave an accepted order behind that waits for a courier."""
    consumer = (await api.post("consumer", "/api/consumers", {"name": "Somebody"}))["id"]
    restaurant = (await api.post("restaurant", "/api/restaurants", PIZZERIA.body()))["id"]
    await api.until_there("order", f"/api/restaurants/{restaurant}")
    soon = (datetime.now(UTC) + timedelta(minutes=20)).isoformat()
    body = {
        "consumer_id": consumer,
        "restaurant_id": restaurant,
        "delivery_time": soon,
        "delivery_address": address("1 Main Street", "94611"),
        "line_items": {"diavola": 1},
    }
    order = (await api.post("order", "/api/orders", body))["id"]
    found = await api.until(
        lambda: api.get("order", f"/api/orders/{order}"),
        lambda found: found is not None and found["state"] == "Approved",
        str,
    )
    assert found is not None
    await api.post("kitchen", f"/api/tickets/{found['ticket_id']}/accept", {"ready_by": soon})


async def test_two_at_once() -> None:
    async with staged() as stage:
        second = stage.another()
        await asyncio.gather(stage.scenario.play(), second.play())
        assert stage.scenario.failures == second.failures == []
        assert all(order.has_ended for order in (*stage.scenario.orders, *second.orders))


async def test_the_couriers_go_off_duty() -> None:
    async with staged() as stage:
        await stage.scenario.play()
        again = stage.another()
        await again.play()
        assert len(again.orders) == len(stage.scenario.orders)


async def test_orders_that_do_not_end_where_they_should_are_named() -> None:
    async with staged("accounting", patience=1) as stage:
        await stage.scenario.play()
        summary(stage.console, stage.scenario.orders, {}, stage.scenario.failures)
    delivered = stage.scenario.orders[0]
    assert (
        f"Order {delivered.id} (delivered) did not go as it should: "
        "its state is ApprovalPending instead of Approved after 1 s."
    ) in stage.scenario.failures
    assert any(failure.startswith("A part of the demo could not be played") for failure in stage.scenario.failures)
    assert stage.text.count(delivered.id) == 3  # where it happened, in the table, and at the end
    assert "ended where they should" not in stage.text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"state": "Approved", "total": 10}, ""),
        ({"state": "ApprovalPending", "total": 10}, "its state is ApprovalPending instead of Approved"),
        ({"state": "Approved"}, "its total is missing instead of 10"),
    ],
)
def test_what_is_said_of_a_difference(found: dict[str, object], said: str) -> None:
    assert difference({"state": "Approved", "total": 10}, found) == said
