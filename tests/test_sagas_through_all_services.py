"""The three sagas through real processes, PostgreSQL and NATS: forward, and refused at each step before the pivot."""

from typing import Any

import asyncpg
import pytest

from tests.api import CART, TOTAL, Api
from tests.support.processes import RunningSystem


async def test_an_order_lives_its_whole_life(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant, _ = await api.register_consumer(), await api.open_restaurant(), await api.courier()
        order, ticket = await api.approved_order(consumer, restaurant)
        await api.ticket(ticket, "accept")
        await api.becomes("delivery", f"/api/deliveries/{order}", lambda it: it["status"] == "SCHEDULED")
        await api.ticket(ticket, "preparing", "ready", "picked-up")
        await api.becomes("delivery", f"/api/deliveries/{order}", lambda it: it["status"] == "PICKED_UP")
        await api.call("delivery", "POST", f"/api/deliveries/{order}/delivered")

        shown = await api.becomes(
            "order_history", f"/api/orders/{order}", lambda it: it["delivery_status"] == "DELIVERED"
        )
        assert (shown["status"], shown["order_total"]) == ("Approved", TOTAL)
        account = await api.call("accounting", "GET", f"/api/accounts/{consumer}")
        assert account["authorized_total"] == TOTAL


async def test_an_approved_order_is_cancelled_everywhere(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        order, ticket = await api.approved_order(consumer, restaurant)
        answer = await api.call("order", "PUT", f"/api/orders/{order}/cancel")
        assert answer == {"status": "CancelPending"}

        await api.order_becomes(order, "Cancelled")
        await api.becomes("kitchen", f"/api/tickets/{ticket}", lambda it: it["status"] == "Cancelled")
        await api.becomes("accounting", f"/api/accounts/{consumer}", lambda it: it["authorized_total"] == 0)
        await api.becomes("delivery", f"/api/deliveries/{order}", lambda it: it["status"] == "CANCELLED")
        await api.becomes("order_history", f"/api/orders/{order}", lambda it: it["status"] == "Cancelled")


async def test_an_approved_order_is_revised_everywhere(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        order, ticket = await api.approved_order(consumer, restaurant)
        revision = {"revised_quantities": {"vindaloo": 1, "naan": 0}}
        answer = await api.call("order", "PUT", f"/api/orders/{order}/revise", json=revision)
        assert answer == {"status": "RevisionPending"}

        revised = await api.becomes(
            "order", f"/api/orders/{order}", lambda it: it["state"] == "Approved" and it["order_total"] == 1195
        )
        assert [item["menu_item_id"] for item in revised["line_items"]] == ["vindaloo"]
        shown = await api.call("kitchen", "GET", f"/api/tickets/{ticket}")
        assert [(item["menu_item_id"], item["quantity"]) for item in shown["line_items"]] == [("vindaloo", 1)]
        account = await api.call("accounting", "GET", f"/api/accounts/{consumer}")
        assert account["authorized_total"] == 1195
        await api.becomes("order_history", f"/api/orders/{order}", lambda it: it["order_total"] == 1195)


async def test_creation_is_refused_by_the_consumer_service(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        restaurant = await api.open_restaurant()
        order = await api.place_order("0192f0c1-2345-7abc-8def-0123456789ab", restaurant)
        rejected = await api.order_becomes(order, "Rejected")
        assert rejected["rejection"] == "consumer not found"
        assert (await api.call("kitchen", "GET", f"/api/tickets?order_id={order}"))["tickets"] == []


async def test_creation_is_refused_by_the_kitchen(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        kitchen = await asyncpg.connect(system.databases["kitchen"].migrations_url)
        try:
            await kitchen.execute("delete from restaurants where id = $1", restaurant)
        finally:
            await kitchen.close()
        order = await api.place_order(consumer, restaurant)
        rejected = await api.order_becomes(order, "Rejected")
        assert rejected["rejection"] == "restaurant not found"
        assert (await api.call("accounting", "GET", f"/api/accounts/{consumer}"))["authorized_total"] == 0


async def test_creation_is_refused_by_the_account_and_the_ticket_is_undone(system: RunningSystem) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        await api.call("accounting", "PUT", f"/api/accounts/{consumer}/disable")
        order = await api.place_order(consumer, restaurant)
        rejected = await api.order_becomes(order, "Rejected")
        assert rejected["rejection"] == "account is disabled"
        tickets = (await api.call("kitchen", "GET", f"/api/tickets?order_id={order}"))["tickets"]
        assert [ticket["status"] for ticket in tickets] == ["Cancelled"]
        await api.becomes("delivery", f"/api/deliveries/{order}", lambda it: it["status"] == "CANCELLED")


CHANGES: dict[str, dict[str, Any]] = {
    "cancel": {},
    "revise": {"json": {"revised_quantities": {"vindaloo": 1}}},
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_refused_by_a_kitchen_that_has_begun(system: RunningSystem, change: str) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        order, ticket = await api.approved_order(consumer, restaurant)
        await api.ticket(ticket, "accept", "preparing")
        await api.call("order", "PUT", f"/api/orders/{order}/{change}", **CHANGES[change])

        unchanged = await api.order_becomes(order, "Approved")
        assert {item["menu_item_id"]: item["quantity"] for item in unchanged["line_items"]} == CART
        assert (await api.call("kitchen", "GET", f"/api/tickets/{ticket}"))["status"] == "Preparing"
        assert (await api.call("accounting", "GET", f"/api/accounts/{consumer}"))["authorized_total"] == TOTAL


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_refused_by_the_account_and_the_ticket_goes_back(system: RunningSystem, change: str) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        order, ticket = await api.approved_order(consumer, restaurant)
        await api.ticket(ticket, "accept")
        await api.call("accounting", "PUT", f"/api/accounts/{consumer}/disable")
        await api.call("order", "PUT", f"/api/orders/{order}/{change}", **CHANGES[change])

        unchanged = await api.order_becomes(order, "Approved")
        assert unchanged["order_total"] == TOTAL
        assert (await api.call("kitchen", "GET", f"/api/tickets/{ticket}"))["status"] == "Accepted"
        assert (await api.call("accounting", "GET", f"/api/accounts/{consumer}"))["authorized_total"] == TOTAL


@pytest.mark.parametrize("change", CHANGES)
async def test_a_rejected_order_can_not_be_changed(system: RunningSystem, change: str) -> None:
    async with Api(system.urls) as api:
        consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
        await api.call("accounting", "PUT", f"/api/accounts/{consumer}/disable")
        order = await api.place_order(consumer, restaurant)
        await api.order_becomes(order, "Rejected")
        refusal = await api.refused("order", "PUT", f"/api/orders/{order}/{change}", **CHANGES[change])
        assert refusal == (409, "order state does not allow action")
