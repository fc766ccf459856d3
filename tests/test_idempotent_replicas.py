"""One request, sent to two replicas of a service at the same moment with the same key, is done once."""

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx

from tests.support.infra import Infra
from tests.support.processes import another_replica, running_system
from tools.demo.town import AJANTA, address

PAIRS = 20


async def test_two_replicas_that_get_the_same_request_place_one_order(infra: Infra) -> None:
    with ExitStack() as stack:
        system = await asyncio.to_thread(stack.enter_context, running_system(infra, ["order", "restaurant"]))
        second_url = await asyncio.to_thread(stack.enter_context, another_replica(system, "order"))
        async with (
            system.client("restaurant") as restaurants,
            system.client("order") as first,
            httpx.AsyncClient(base_url=second_url, trust_env=False, timeout=30) as second,
        ):
            restaurant = (await restaurants.post("/api/restaurants", json=AJANTA.body())).json()["id"]
            while (await first.get(f"/api/restaurants/{restaurant}")).status_code != 200:
                await asyncio.sleep(0.02)
            body = {
                "consumer_id": "0197f2b0-0000-7000-8000-000000000001",
                "restaurant_id": restaurant,
                "delivery_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
                "delivery_address": address("9 Amazing View", "94612"),
                "line_items": {"garlic-naan": 1},
            }

            async def place(replica: httpx.AsyncClient, number: int, **changed: object) -> httpx.Response:
                key = {"Idempotency-Key": f"order {number}"}
                return await replica.post("/api/orders", json={**body, **changed}, headers=key)

            both = [(place(first, number), place(second, number)) for number in range(PAIRS)]
            answers = await asyncio.gather(*(answer for pair in both for answer in pair))
            assert {answer.status_code for answer in answers} == {201}
            ids = [answer.json()["id"] for answer in answers]
            assert ids[0::2] == ids[1::2]
            assert len(set(ids)) == PAIRS
            other = await place(second, 0, line_items={"garlic-naan": 2})
            assert (other.status_code, other.json()["detail"]) == (
                422,
                "the idempotency key was used for another request",
            )
        database = await asyncpg.connect(system.databases["order"].migrations_url)
        created = "select count(*) from events where type = 'order.OrderCreated'"
        assert (
            await database.fetchval(created)
            == await database.fetchval("select count(*) from idempotency_keys")
            == PAIRS
        )
        await database.close()
