"""The search for tickets: the same on memory and on PostgreSQL."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from kernel.values import OrderId, RestaurantId, TicketId
from kitchen.adapters import memory, postgres
from kitchen.application.queries import find_tickets, get_ticket
from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.domain.errors import TicketNotFound
from kitchen.domain.ticket import TicketStatus
from kitchen.tests.given import CURRY, NOBODY, NOON, READY_BY, RESTAURANT, TICKET, a_ticket
from shared.adapters.memory.database import MemoryDatabase
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.policy import Policy
from shared.host.migrations import migrate
from shared.host.provision import Database
from shared.unit_of_work import aggregates
from shared.unit_of_work.unit_of_work import Units

S = TicketStatus
STATUSES = (S.CREATE_PENDING, S.AWAITING_ACCEPTANCE, S.ACCEPTED, S.ACCEPTED, S.PICKED_UP, S.CANCEL_PENDING)
ORDERS = (OrderId("x"), OrderId("y"), OrderId("x"), OrderId("y"), OrderId("x"), OrderId("z"))
# Ids whose order differs with the collation of a database.
IDS = ("0a", "0B", "0-c", "0_D", "1", "Z")


@pytest.fixture(params=["memory", "postgres"])
def units(request: pytest.FixtureRequest) -> Callable[[], Units[KitchenUnitOfWork]]:
    """Units of work on each of the adapters."""
    if request.param == "memory":
        in_memory = MemoryDatabase()
        return lambda: Units(in_memory, lambda tx: memory.unit_of_work(tx, lambda: NOON, Policy()))
    new_database: Callable[[str], Database] = request.getfixturevalue("new_database")
    provisioned = new_database("kitchen")
    migrate(provisioned.service, provisioned.migrations_url)
    return lambda: Units(
        PostgresDatabase(provisioned.url, postgres.TABLES),
        lambda tx: postgres.unit_of_work(tx, lambda: NOON, Policy()),
    )


async def close(units: Units[KitchenUnitOfWork]) -> None:
    if isinstance(units._database, PostgresDatabase):
        await units._database.close()


async def test_tickets_are_found_by_every_criterion(units: Callable[[], Units[KitchenUnitOfWork]]) -> None:
    made = units()
    async with made.begin() as uow:
        for id_, order, status in zip(IDS, ORDERS, STATUSES, strict=True):
            await uow.tickets.add(a_ticket(status, id_=id_, order_id=order))
    wanted: Any = product((None, "x", "nobody"), (None, RESTAURANT, "r"), (None, S.ACCEPTED, S.NEW), (None, "0a", "1"))
    rows = list(zip(IDS, ORDERS, STATUSES, strict=True))
    async with made.begin() as uow:
        for order, restaurant, status, before in wanted:
            expected = [
                id_
                for id_, its_order, its_status in sorted(rows, reverse=True)
                if order in (None, its_order)
                and restaurant in (None, RESTAURANT)
                and status in (None, its_status)
                and (before is None or id_ < before)
            ]
            for limit in (1, 2, 10):
                found, following = await find_tickets(
                    uow, order_id=order, restaurant_id=restaurant, status=status, before=before, limit=limit
                )
                assert [view.id for view in found] == expected[:limit]
                assert following == (expected[limit - 1] if len(expected) > limit else None)
    await close(made)


async def test_large_tickets_make_shorter_pages(
    units: Callable[[], Units[KitchenUnitOfWork]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = units()
    async with made.begin() as uow:
        for id_ in IDS:
            await uow.tickets.add(a_ticket(S.AWAITING_ACCEPTANCE, id_=id_))
    monkeypatch.setattr(aggregates, "MAX_PAGE", 1)
    seen: list[str] = []
    before = None
    async with made.begin() as uow:
        while not seen or before is not None:
            page, before = await find_tickets(
                uow, order_id=None, restaurant_id=None, status=None, before=before, limit=5
            )
            assert len(page) == 1
            seen += [view.id for view in page]
    assert seen == sorted(IDS, reverse=True)
    await close(made)


async def test_a_view_follows_its_ticket(units: Callable[[], Units[KitchenUnitOfWork]]) -> None:
    made = units()
    async with made.begin() as uow:
        await uow.tickets.add(a_ticket(S.AWAITING_ACCEPTANCE))
    async with made.begin() as uow:
        ticket = await uow.tickets.get(TICKET)
        ticket.accept(READY_BY, NOON)
        ticket.begin_revise({CURRY: 7})
    async with made.begin() as uow:
        (await uow.tickets.get(TICKET)).confirm_revise({CURRY: 7})
    async with made.begin() as uow:
        view, ticket = await get_ticket(TICKET, uow), await uow.tickets.get(TICKET)
        assert (view.version, view.status, view.line_items) == (ticket.version, S.ACCEPTED, ticket.line_items)
        assert (view.accepted_at, view.ready_by, view.line_items[0].quantity) == (NOON, READY_BY, 7)
        assert (view.restaurant_id, view.order_id) == (RestaurantId(RESTAURANT), ticket.order_id)
        with pytest.raises(TicketNotFound):
            await get_ticket(TicketId(NOBODY), uow)
    await close(made)
