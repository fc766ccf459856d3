"""Processes and servers are killed while orders flow: nothing is lost, doubled or stuck."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import asyncpg
import pytest

from tests.api import TOTAL, Api, TryAgain, until
from tests.support.infra import Infra
from tests.support.processes import RunningSystem
from tests.verified import findings_at_rest

ORDERS = 60


def _kill(name: str) -> Callable[[RunningSystem, Infra], None]:
    def kill(system: RunningSystem, _infra: Infra) -> None:
        system.kill(name)
        system.start(name)

    return kill


def _kill_postgres(_system: RunningSystem, infra: Infra) -> None:
    infra.postgres.kill()
    infra.postgres.start()


def _kill_nats(system: RunningSystem, _infra: Infra) -> None:
    system.nats.server.kill()
    system.nats.server.start()


KILLS = {name: _kill(name) for name in ("order", "kitchen", "accounting", "consumer", "delivery", "relay")} | {
    "PostgreSQL": _kill_postgres,
    "NATS": _kill_nats,
}


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("victim", KILLS)
async def test_every_order_is_approved_once_whoever_is_killed(system: RunningSystem, infra: Infra, victim: str) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        orders = await _placed_while(api, consumer, restaurant, lambda: KILLS[victim](system, infra))

        for order in orders:
            await api.order_becomes(order, "Approved")
        assert len(set(orders)) == ORDERS
        await _shows(api, consumer, orders)
        account = await api.call("accounting", "GET", f"/api/accounts/{consumer}")
        assert account["authorized_total"] == ORDERS * TOTAL
        assert await _counts(system, "kitchen", "select order_id from tickets", orders) == [1] * ORDERS
        assert await _counts(system, "delivery", "select id from deliveries", orders) == [1] * ORDERS
        for service, database in system.databases.items():
            assert await _stuck(database.migrations_url) == 0, service
        assert await findings_at_rest(system) == []


async def _placed_while(api: Api, consumer: str, restaurant: str, kill: Callable[[], None]) -> list[str]:
    """Places the orders; a third of the way in, something is killed and started again."""
    placed: list[str] = []

    async def place() -> None:
        key = str(uuid4())
        while True:  # a client that gets no answer, or is told to come again, sends the request again
            try:
                placed.append(await api.place_order(consumer, restaurant, key))
            except TryAgain:
                await asyncio.sleep(0.1)
            else:
                return

    async def place_one_after_another(number: int) -> None:
        for _ in range(number):
            await place()

    async def kill_in_between() -> None:
        async def begun() -> bool:
            return len(placed) >= ORDERS // 3

        await until(begun, lambda: f"{len(placed)} orders placed")
        await asyncio.to_thread(kill)

    await asyncio.gather(kill_in_between(), *(place_one_after_another(ORDERS // 6) for _ in range(6)))
    return placed


async def _shows(api: Api, consumer: str, orders: list[str]) -> None:
    """The order history has every order as approved."""
    for order in orders:
        await api.becomes("order_history", f"/api/orders/{order}", lambda it: it["status"] == "Approved")


async def _counts(system: RunningSystem, service: str, query: str, orders: list[str]) -> list[int]:
    """How many rows of the query each order has."""
    connection = await asyncpg.connect(system.databases[service].migrations_url)
    try:

        async def complete() -> bool:
            return len(await connection.fetch(f"{query} where {query.split()[1]} = any($1)", orders)) >= len(orders)

        await until(complete, lambda: f"{service} has not all of them")
        rows = [row[0] for row in await connection.fetch(f"{query} where {query.split()[1]} = any($1)", orders)]
    finally:
        await connection.close()
    return [rows.count(order) for order in orders]


async def _stuck(url: str) -> int:
    """How many sagas and messages have given up."""
    connection = await asyncpg.connect(url)
    try:
        stuck: int = await connection.fetchval(
            "select (select count(*) from sagas where stuck)"
            " + (select count(*) from set_aside where parked_at is not null)"
        )
    finally:
        await connection.close()
    return stuck
