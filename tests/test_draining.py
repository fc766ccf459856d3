"""A replica that is told to stop: it says so first, answers what is under way, and another one reads on at once."""

import asyncio
import os
import signal
from contextlib import ExitStack

import asyncpg
import httpx

from tests.support.infra import Infra
from tests.support.processes import QUICK, another_replica, running_system

LONG_LEASE = {**QUICK, "FTGO_LEASE_SECONDS": "60"}
"""Nobody takes a partition over in this test because its holder has been silent for long."""


async def test_a_replica_drains_and_another_takes_over(infra: Infra) -> None:
    with ExitStack() as stack:
        system = await asyncio.to_thread(
            stack.enter_context, running_system(infra, ["consumer", "accounting"], LONG_LEASE)
        )
        second_url = await asyncio.to_thread(stack.enter_context, another_replica(system, "accounting", LONG_LEASE))
        accounting = system.databases["accounting"]
        locker = await asyncpg.connect(accounting.migrations_url)
        async with system.client("consumer") as consumers, system.client("accounting") as first:

            async def register() -> str:
                return str((await consumers.post("/api/consumers", json={"name": "Ada"})).json()["id"])

            async def account(id_: str, client: httpx.AsyncClient) -> int:
                while (answer := await client.get(f"/api/accounts/{id_}")).status_code == 404:
                    await asyncio.sleep(0.02)
                return answer.status_code

            async def holder() -> int | None:
                found: int | None = await locker.fetchval("select holder from subscriptions")
                return found

            id_ = await register()
            assert await account(id_, first) == 200
            before = await holder()

            blocked = locker.transaction()
            await blocked.start()
            await locker.execute("lock table idempotency_keys, events in exclusive mode")
            under_way = asyncio.create_task(first.put(f"/api/accounts/{id_}/disable"))
            waiting = "select count(*) from pg_locks where not granted and relation = 'events'::regclass"
            while not await locker.fetchval(waiting):
                await asyncio.sleep(0.02)

            os.kill(system.servers["accounting"].pid, signal.SIGTERM)
            async with httpx.AsyncClient(base_url=system.urls["accounting"], trust_env=False) as probe:
                while (ready := await probe.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.02)
                assert ready.json()["detail"] == "the service is stopping"
                refused = await probe.put(f"/api/accounts/{id_}/disable")
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            while await holder() in (None, before):  # the other has it while this one still has a request
                await asyncio.sleep(0.02)
            assert not under_way.done()
            await blocked.rollback()

            answer = await under_way
            assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
            assert await asyncio.to_thread(system.servers["accounting"].wait) == 0
            async with httpx.AsyncClient(base_url=second_url, trust_env=False) as other:
                assert (await other.get(f"/api/accounts/{id_}")).json()["enabled"] is False
                assert await account(await register(), other) == 200
        await locker.close()
