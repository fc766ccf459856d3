"""The invariants on a running system: they hold after orders of all kinds, and see what does not belong there."""

import asyncio
from contextlib import closing

import psycopg2

from tests.api import Api
from tests.support.processes import RunningSystem
from tests.verified import findings_at_rest


async def test_the_invariants_hold_in_a_running_system(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant, _ = await api.register_consumer(), await api.open_restaurant(), await api.courier()
        brought, ticket = await api.approved_order(consumer, restaurant)
        await api.ticket(ticket, "accept", "preparing", "ready", "picked-up")
        await api.becomes("delivery", f"/api/deliveries/{brought}", lambda it: it["status"] == "PICKED_UP")
        await api.call("delivery", "POST", f"/api/deliveries/{brought}/delivered")
        cancelled, _ = await api.approved_order(consumer, restaurant)
        await api.call("order", "PUT", f"/api/orders/{cancelled}/cancel", headers={"Idempotency-Key": "once"})
        revised, _ = await api.approved_order(consumer, restaurant)
        await api.call("order", "PUT", f"/api/orders/{revised}/revise", json={"revised_quantities": {"naan": 0}})
        await api.call("accounting", "PUT", f"/api/accounts/{consumer}/disable")
        await api.place_order(consumer, restaurant, key="rejected")
        assert await findings_at_rest(system) == []

        spoilt = {
            "I1": ("accounting", "update events set data = data || '{\"order_total\": 1}' where type like '%Reversed'"),
            "I2": ("ordering", "update sagas set stuck = true, phase = 'forward' where key = %s"),
            "I4": ("kitchen", "update tickets set status = 'Accepted' where order_id = %s"),
            "I5": ("order_history", "update orders set restaurant_name = 'Taj' where id = %s"),
            "I6": ("delivery", "delete from inbox"),
            "I7": ("ordering", "update idempotency_keys set answer = '{\"id\": \"nowhere\"}' where id like 'POST %%'"),
        }
        by_database = {database.service.database: database for database in system.databases.values()}
        for name, statement in spoilt.values():
            await asyncio.to_thread(_execute, by_database[name].migrations_url, statement, cancelled)
        found = {finding.invariant for finding in await findings_at_rest(system)}
        assert found >= spoilt.keys()


def _execute(url: str, statement: str, order_id: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, [order_id] if "%s" in statement else None)
        assert cursor.rowcount > 0
