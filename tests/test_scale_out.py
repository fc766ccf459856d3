"""Two replicas each of the order service and the kitchen share four partitions; one is killed, one stands still."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from rich.console import Console

from kernel.topology import SERVICES
from tests.api import TOTAL, Api, TryAgain, until
from tests.support.infra import Infra
from tests.support.processes import QUICK, RunningSystem, another_replica, running_system
from tests.verified import findings_at_rest
from tools.repartition import repartition
from tools.system.supervisor import local_client
from tools.system.system import OtherPartitions, System, SystemSettings, on_free_ports, remove_data

PARTITIONS = 4
SETTINGS = {**QUICK, "FTGO_PARTITIONS": str(PARTITIONS)}
CONCURRENCY = 6
AGAIN = 5
"""How often each of them orders before somebody goes, and between that and the end."""


@pytest.mark.time_limit(180)
async def test_work_is_shared_and_taken_over_and_nothing_is_lost(infra: Infra) -> None:
    with ExitStack() as stack:
        system = await asyncio.to_thread(stack.enter_context, running_system(infra, settings=SETTINGS))
        urls = dict(system.urls)
        for service in ("order", "kitchen"):
            urls[service] = await asyncio.to_thread(stack.enter_context, another_replica(system, service, SETTINGS))
        async with Api(urls) as api:
            for service in ("order", "kitchen"):
                await _holds(system, service, [2, 2])
            consumers, restaurant = (
                [await api.register_consumer() for _ in range(CONCURRENCY)],
                await api.open_restaurant(),
            )
            orders = await _placed(api, consumers, restaurant)

            for service, goes in (("kitchen", system.kill), ("order", system.pause)):
                placing = asyncio.create_task(_placed(api, consumers, restaurant))
                began = time.monotonic()
                await asyncio.to_thread(goes, service)
                await _holds(system, service, [PARTITIONS])
                print(f"{service}'s partitions were taken over after {time.monotonic() - began:.1f} s")
                orders += await placing
            for order in orders:
                await api.order_becomes(order, "Approved")
            system.resume("order")
            await asyncio.to_thread(system.start, "kitchen")
            for service in ("order", "kitchen"):
                await _holds(system, service, [2, 2])
            orders += await _placed(api, consumers, restaurant)
            for order in orders:
                await api.order_becomes(order, "Approved")
            for consumer in consumers:
                account = await api.call("accounting", "GET", f"/api/accounts/{consumer}")
                assert account["authorized_total"] == len(orders) // CONCURRENCY * TOTAL
        assert await findings_at_rest(system) == []


async def _placed(api: Api, consumers: list[str], restaurant: str) -> list[str]:
    """Orders of all consumers at once, one after another each; who gets no answer asks again with the same key."""

    async def place(consumer: str) -> list[str]:
        return [await _insisting(lambda key: api.place_order(consumer, restaurant, key)) for _ in range(AGAIN)]

    return [order for orders in await asyncio.gather(*map(place, consumers)) for order in orders]


async def _insisting(ask: Callable[[str], Awaitable[str]]) -> str:
    key = str(uuid4())
    while True:
        try:
            return await ask(key)
        except TryAgain:
            await asyncio.sleep(0.1)


async def _holds(system: RunningSystem, service: str, counts: list[int]) -> None:
    """Wait until the replicas of a service hold so many partitions each. A replica's number is in its holders'."""
    connection = await asyncpg.connect(system.databases[service].migrations_url)
    try:
        held: list[int] = []

        async def is_so() -> bool:
            rows = await connection.fetch("select holder >> 31, count(*) from subscriptions group by 1 order by 2")
            held[:] = [count for _, count in rows]
            return held == counts

        await until(is_so, lambda: f"the partitions of {service} are held like this: {held}")
    finally:
        await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For a system of its own; its data may be elsewhere."""
    yield tmp_path / "system"
    remove_data(tmp_path / "system")


@pytest.mark.time_limit(240)
async def test_the_number_of_partitions_changes_when_all_is_handled(folder: Path) -> None:
    """An order goes on in another partition than the one that it began in."""
    console = Console(quiet=True)
    orders: list[str] = []
    consumer = restaurant = ""
    for partitions in (1, 4, 2):
        if orders:
            await repartition(SystemSettings(data_dir=folder), partitions, 60, console)
        async with _up(folder, partitions, console) as system, Api(_urls(system)) as api:
            if not orders:
                consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
            for order in orders:
                await api.call("order", "PUT", f"/api/orders/{order}/revise", json={"revised_quantities": {"naan": 2}})
            for order in orders:
                await api.order_becomes(order, "Approved")
            orders += [await api.place_order(consumer, restaurant) for _ in range(6)]
            for order in orders:
                await api.order_becomes(order, "Approved")
    with pytest.raises(OtherPartitions, match="made with 2 partitions, not 4"):
        async with _up(folder, 4, console):
            pass


@asynccontextmanager
async def _up(folder: Path, partitions: int, console: Console) -> AsyncIterator[System]:
    system = on_free_ports(SystemSettings(data_dir=folder, partitions=partitions))
    async with local_client() as client:
        supervisor = system.supervisor(client, console)
        try:
            await supervisor.start()
            yield system
        finally:
            await supervisor.stop()


def _urls(system: System) -> dict[str, str]:
    return {service.name: system.url(system.port(service)) for service in SERVICES}
