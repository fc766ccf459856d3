"""The order history is built anew while orders arrive and queries answer."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from kernel.topology import FTGO
from shared.adapters.postgres.new_tables import new_tables
from tests.api import Api
from tests.support.infra import Infra
from tests.support.old_data import run_sql, touched_by_the_next_release
from tests.support.processes import QUICK, ROOT, RunningSystem, running_system
from tests.verified import findings_at_rest

PARTITIONS = "2"  # one would be the simple case


@pytest.fixture(scope="module")
def system(infra: Infra) -> Iterator[RunningSystem]:
    """Every service and a relay, ready."""
    with running_system(infra, settings={**QUICK, "FTGO_PARTITIONS": PARTITIONS}) as running:
        yield running


async def begin_rebuild(system: RunningSystem) -> asyncio.subprocess.Process:
    """The program as an operator starts it."""
    settings = {**system.settings_of("order_history"), "FTGO_PARTITIONS": PARTITIONS}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FTGO_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "order_history.rebuild",
        env={**inherited, **settings}, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Exit code and output."""
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@asynccontextmanager
async def history(system: RunningSystem) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """The history's database, as the owner of the tables."""
    connection = await asyncpg.connect(system.databases["order_history"].migrations_url)
    try:
        yield connection
    finally:
        await connection.close()


async def rows(system: RunningSystem, orders: list[str]) -> dict[str, dict[str, Any]]:
    """What is kept of the orders, but for how often it was written."""
    async with history(system) as connection:
        found = await connection.fetch("select * from orders where id = any($1)", orders)
    return {row["id"]: {name: value for name, value in row.items() if name != "version"} for row in found}


async def names(system: RunningSystem) -> list[str]:
    """Tables and indexes of the history."""
    async with history(system) as connection:
        found = await connection.fetch("select relname from pg_class where relname like 'orders%' order by relname")
    return [name for (name,) in found]


@pytest.mark.time_limit(180)
async def test_it_gives_what_was_there_while_orders_arrive_and_queries_answer(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant, _ = await api.register_consumer(), await api.open_restaurant(), await api.courier()
        orders = [(await api.approved_order(consumer, restaurant))[0] for _ in range(6)]
        shown, spoilt, forgotten, cancelled, revised, _ = orders
        await api.call("order", "PUT", f"/api/orders/{cancelled}/cancel", headers={"Idempotency-Key": "once"})
        await api.call("order", "PUT", f"/api/orders/{revised}/revise", json={"revised_quantities": {"naan": 4}})
        await api.becomes("order_history", f"/api/orders/{cancelled}", lambda it: it["status"] == "Cancelled")
        await api.becomes("order_history", f"/api/orders/{revised}", lambda it: len(it["line_items"]) == 2)
        assert await findings_at_rest(system) == []
        before, relations = await rows(system, orders), await names(system)
        async with history(system) as connection:
            await connection.execute("update orders set restaurant_name = 'Taj', status = 'Rejected'")
            await connection.execute("update orders set order_version = 99 where id = $1", spoilt)
            await connection.execute("delete from orders where id = $1", forgotten)

        placed, done = [], asyncio.Event()

        async def arrive() -> None:
            while not done.is_set():
                placed.append(await api.place_order(consumer, restaurant))

        async def answer() -> int:
            answers = 0
            async with httpx.AsyncClient(base_url=system.urls["order_history"], trust_env=False, timeout=30) as client:
                while not done.is_set():
                    page = await client.get("/api/orders", params={"consumerID": consumer, "limit": 50})
                    order = await client.get(f"/api/orders/{shown}")
                    words = {"consumerID": consumer, "filter[keywords]": "vindaloo"}
                    found = await client.get("/api/orders", params=words)
                    assert [page.status_code, order.status_code, found.status_code] == [200] * 3
                    assert len(page.json()["orders"]) >= len(orders) - 1
                    assert found.json()["orders"]
                    answers += 1
            return answers

        arriving, answering = asyncio.create_task(arrive()), [asyncio.create_task(answer()) for _ in range(4)]
        try:
            code, output = await ended(await begin_rebuild(system))
        finally:
            done.set()
        await arriving
        assert all(await asyncio.gather(*answering))
        assert code == 0, output
        assert placed

        assert await rows(system, orders) == before
        assert await names(system) == relations
        for order in placed:
            await api.becomes("order_history", f"/api/orders/{order}", lambda it: it["status"] == "Approved")
        await api.call("order", "PUT", f"/api/orders/{shown}/cancel", headers={"Idempotency-Key": "later"})
        await api.becomes("order_history", f"/api/orders/{shown}", lambda it: it["status"] == "Cancelled")
        assert await findings_at_rest(system) == []


async def test_a_relay_that_is_not_there_yet_is_waited_for(system: RunningSystem) -> None:
    system.kill("relay")
    rebuild = await begin_rebuild(system)
    await asyncio.to_thread(system.start, "relay")
    code, output = await ended(rebuild)
    assert code == 0, output


async def test_without_a_relay_the_old_tables_stay(system: RunningSystem) -> None:
    relations = await names(system)
    system.kill("relay")
    try:
        code, output = await ended(await begin_rebuild(system))
    finally:
        await asyncio.to_thread(system.start, "relay")
    assert code == 1
    reason = "was not rebuilt, and answers from the old tables: the keeper of the stream does not answer"
    assert reason in output.splitlines()[-1]
    assert await names(system) == relations


async def test_what_a_rebuild_that_was_killed_has_left_is_in_nobodys_way(system: RunningSystem) -> None:
    relations = await names(system)
    async with history(system) as connection:
        await connection.execute("create table orders_rebuilt (like orders including all)")
        await connection.execute("insert into orders_rebuilt select * from orders")
    code, output = await ended(await begin_rebuild(system))
    assert code == 0, output
    assert await names(system) == relations
    assert await findings_at_rest(system) == []


async def test_while_one_is_under_way_another_is_refused(system: RunningSystem) -> None:
    async with new_tables(system.databases["order_history"].migrations_url, ["orders"]):
        code, output = await ended(await begin_rebuild(system))
    assert code == 1
    assert "another rebuild is under way" in output.splitlines()[-1]


async def test_the_data_of_a_newer_release_are_left_alone(system: RunningSystem) -> None:
    relations = await names(system)
    url = system.databases["order_history"].migrations_url
    touched_by_the_next_release(url, beside=FTGO.releases.current.number + 1)
    try:
        code, output = await ended(await begin_rebuild(system))
    finally:
        run_sql(url, "delete from releases where version = 'next'")
    assert code == 1
    assert "the data of order_history is from a newer version (next)" in output.splitlines()[-1]
    assert await names(system) == relations
