"""A service that gets no connection to PostgreSQL says so, asks its clients to come again, and recovers by itself."""

import asyncio

import asyncpg

from tests.support.infra import Infra
from tests.support.processes import running_system


async def test_without_connections_clients_are_told_to_come_again(infra: Infra) -> None:
    context = running_system(infra, ["consumer"])
    system = await asyncio.to_thread(context.__enter__)
    admin = await asyncpg.connect(infra.admin_url)
    role = system.databases["consumer"].service.service_role
    try:
        async with system.client("consumer") as consumers:
            registered = await consumers.post("/api/consumers", json={"name": "Ada"})
            path = f"/api/consumers/{registered.json()['id']}"
            assert (await consumers.get(path)).status_code == 200

            await admin.execute(f"alter role {role} connection limit 0")
            await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)
            for answer in (await consumers.get(path), await consumers.put(path, json={"name": "Lovelace"})):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                assert answer.headers["Content-Type"] == "application/problem+json"
            while (ready := await consumers.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.1)
            assert "too many connections for role" in ready.json()["detail"]
            assert (await consumers.get("/ping")).status_code == 200

            await admin.execute(f"alter role {role} connection limit -1")
            while (await consumers.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.1)
            assert (await consumers.put(path, json={"name": "Lovelace"})).status_code == 200
    finally:
        await admin.execute(f"alter role {role} connection limit -1")
        await admin.close()
        await asyncio.to_thread(context.__exit__, None, None, None)
