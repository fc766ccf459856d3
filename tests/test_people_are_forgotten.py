"""A consumer who was erased is nowhere any more: in no event, snapshot or row of any service.

What has been sent stays in the outboxes and in the stream for their retention: docs/adr/0028 says so.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from kernel.topology import BY_NAME, SERVICES
from shared.adapters.memory.database import MemoryDatabase
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.messages import Event
from shared.core.serialization import to_json
from shared.eventsourcing.store import History, Metadata, Snapshot, StoredEvent
from shared.host.migrations import migrate
from shared.testing.system import MemorySystem
from shared.unit_of_work.unit_of_work import Database
from tests.api import CART, DELIVER_AT, MENU
from tests.support.infra import Infra
from tools.documents.catalogue import entries, private_events
from tools.documents.samples import samples_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 60
"""More events than there are between two snapshots."""

EVENTS = [*(each.message for each in entries() if issubclass(each.message, Event)), *private_events()]
PERSONAL = sorted({event.type_name.partition(".")[0] for event in EVENTS if event.personal})


def history(service: str, *, erased: bool) -> list[StoredEvent]:
    """An aggregate to which everything personal has happened that can, and then perhaps that it was to be forgotten."""
    events = [event for event in EVENTS if event.type_name.startswith(f"{service}.") and not event.erases]
    events += [event for event in EVENTS if erased and event.type_name.startswith(f"{service}.") and event.erases]
    return [
        StoredEvent(
            aggregate="Person",
            id="a",
            version=version,
            type=event.type_name,
            data=to_json(samples_of(event)[0]),
            metadata=Metadata(id=f"a-{version}", schema=event.schema, correlation_id="c", causation_id="k"),
            occurred_at=NOON,
        )
        for version, event in enumerate(events, start=1)
    ]


async def kept(database: Database, events: list[StoredEvent]) -> History:
    """What is left when they have been stored, and then what is personal in them was to be overwritten."""
    async with database.transaction() as transaction:
        await transaction.events.append(events, [Snapshot(aggregate="Person", id="a", version=1, tag="t", state="{}")])
        await transaction.events.erase("Person", "a")
    async with database.transaction() as transaction:
        return (await transaction.events.load("Person", "another", ["a"]))["a"]


def said(events: Sequence[StoredEvent]) -> list[tuple[str, Any]]:
    """What the events say, however their JSON is written."""
    return [(event.type, json.loads(event.data)) for event in events]


def test_some_services_know_people() -> None:
    assert set(PERSONAL) >= {"accounting", "consumer", "order"}


@pytest.mark.parametrize("service", PERSONAL)
async def test_the_database_overwrites_what_the_contracts_call_personal(service: str, infra: Infra) -> None:
    events = history(service, erased=True)
    expected = said((await kept(MemoryDatabase(), events)).events)
    assert expected != said(events)
    with infra.database(service) as provisioned:
        migrate(provisioned.service, provisioned.migrations_url)
        database = PostgresDatabase(provisioned.url)
        try:
            assert said((await kept(database, events)).events) == expected
        finally:
            await database.close()


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
async def test_it_overwrites_nothing_unless_an_event_says_so(service: str, infra: Infra) -> None:
    """Whoever has got hold of a service's credentials can't change its history by asking for that."""
    events = history(service, erased=False) or history("kitchen", erased=False)
    with infra.database(service) as provisioned:
        migrate(BY_NAME[service], provisioned.migrations_url)
        database = PostgresDatabase(provisioned.url)
        try:
            assert said((await kept(database, events)).events) == said(events)
        finally:
            await database.close()


async def test_nothing_is_left_of_a_consumer() -> None:
    names = [service.name for service in SERVICES]
    async with MemorySystem(names) as system:
        restaurant = {"name": "Ajanta", "address": address("7 Spice Lane"), "menu": {"menu_items": MENU}}
        restaurant_id = (await system.client("restaurant").post("/api/restaurants", json=restaurant)).json()["id"]
        consumers = system.client("consumer")
        ada = (await consumers.post("/api/consumers", json={"name": "Secret Ada"})).json()["id"]
        for number in range(MANY):
            await consumers.put(f"/api/consumers/{ada}", json={"name": f"Secret {number}"})
        for label in ("secret home", "secret den"):
            await added(consumers, ada, label)
        await consumers.put(f"/api/consumers/{ada}/addresses/secret den", json={"address": address("Secret Road")})
        await consumers.delete(f"/api/consumers/{ada}/addresses/secret home")
        await system.settle()
        earlier = [await ordered(system, ada, restaurant_id) for _ in range(3)]
        for order in earlier[:2]:
            assert (await system.client("order").put(f"/api/orders/{order}/cancel")).status_code == 202
        await system.settle()
        assert "secret" in everything_in(system)

        assert (await consumers.delete(f"/api/consumers/{ada}")).status_code == 204
        late = await ordered(system, ada, restaurant_id)
        delivery = await system.client("delivery").get(f"/api/deliveries/{earlier[2]}")
        assert delivery.json()["delivery_address"]["street1"] == "Secret Street", "it is still to be delivered"
        assert (await system.client("order").put(f"/api/orders/{earlier[2]}/cancel")).status_code == 202
        await system.settle()

        assert "secret" not in everything_in(system)
        assert (await system.client("order").get(f"/api/orders/{late}")).json()["state"] == "Rejected"
        account = (await system.client("accounting").get(f"/api/accounts/{ada}")).json()
        assert account == {"id": ada, "name": "", "enabled": True, "authorized_total": 0}


def address(street: str) -> dict[str, str]:
    return {"street1": street, "city": "Oakland", "state": "CA", "zip": "94611"}


async def added(consumers: httpx.AsyncClient, consumer: str, label: str) -> None:
    body = {"address_id": label, "address": address("Secret Alley")}
    assert (await consumers.post(f"/api/consumers/{consumer}/addresses", json=body)).status_code == 201


async def ordered(system: MemorySystem, consumer: str, restaurant: str) -> str:
    """An order, when all that follows from it has happened."""
    body = {
        "consumer_id": consumer,
        "restaurant_id": restaurant,
        "delivery_time": DELIVER_AT,
        "delivery_address": address("Secret Street"),
        "line_items": CART,
    }
    answer = await system.client("order").post("/api/orders", json=body)
    assert answer.status_code == 201, answer.text
    await system.settle()
    return str(answer.json()["id"])


def everything_in(system: MemorySystem) -> str:
    """All that the services' databases hold, but what is to be sent."""
    databases = [service.database for service in system.services.values()]
    return repr([(each.events, each.snapshots, each.tables, each.waiting) for each in databases]).lower()
