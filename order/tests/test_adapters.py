"""Whose addresses are left to forget: the same in memory and on PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest
from sqlalchemy import text

from kernel.values import ConsumerId, OrderId
from order.adapters import memory, postgres
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.order import Order
from order.tests.given import CONSUMER, CURRY, DELIVER_AT, DELIVER_TO, NOBODY, NOW, a_restaurant
from shared.adapters.memory.database import MemoryDatabase
from shared.adapters.postgres.database import PostgresDatabase, PostgresTransaction
from shared.core.clock import utc_now
from shared.core.policy import Policy
from shared.host.migrations import migrate
from shared.host.provision import Database
from shared.unit_of_work.unit_of_work import Units

OrderUnits = Units[OrderUnitOfWork]
Open = Callable[[], AbstractAsyncContextManager[OrderUnits]]

SOMEBODY_ELSE = ConsumerId("0197f2b0-0000-7000-8000-0000000000ff")


class AddressesSuite:
    """What both do. The fixture `open_orders` opens an empty one."""

    async def test_one_after_the_other_is_found_until_none_is_left(self, open_orders: Open) -> None:
        async with open_orders() as units:
            async with units.begin() as uow:
                for id_, consumer in (("a", CONSUMER), ("b", SOMEBODY_ELSE), ("c", CONSUMER)):
                    order = Order.place(OrderId(id_), consumer, a_restaurant(), {CURRY: 1}, DELIVER_AT, DELIVER_TO, NOW)
                    await uow.orders.add(order)
            found: list[OrderId] = []
            while forgotten := await self._forget_one(units, CONSUMER):
                found.append(forgotten)
            assert sorted(found) == ["a", "c"]
            assert await self._forget_one(units, ConsumerId(NOBODY)) is None
            assert await self._forget_one(units, SOMEBODY_ELSE) == "b"

    @staticmethod
    async def _forget_one(units: OrderUnits, consumer: ConsumerId) -> OrderId | None:
        async with units.begin() as uow:
            if id_ := await uow.addresses.order_of(consumer):
                (await uow.orders.get(id_)).erase_address()
            return id_


class TestMemory(AddressesSuite):
    """In memory."""

    @pytest.fixture
    def open_orders(self) -> Open:
        @asynccontextmanager
        async def opened() -> AsyncIterator[OrderUnits]:
            yield Units(
                MemoryDatabase(), lambda transaction: memory.unit_of_work(cast(Any, transaction), utc_now, Policy())
            )

        return opened


class TestPostgres(AddressesSuite):
    """On PostgreSQL."""

    @pytest.fixture
    def open_orders(self, new_database: Callable[[str], Database]) -> Open:
        provisioned = new_database("order")
        migrate(provisioned.service, provisioned.migrations_url)

        @asynccontextmanager
        async def opened() -> AsyncIterator[OrderUnits]:
            opened = PostgresDatabase(provisioned.url, postgres.TABLES)
            try:
                yield Units(
                    opened, lambda transaction: postgres.unit_of_work(cast(Any, transaction), utc_now, Policy())
                )
            finally:
                await opened.close()

        return opened

    async def test_they_are_found_by_an_index(self, open_orders: Open) -> None:
        """The planner reads a small table as a whole; told not to, it must find an index that fits the statement."""
        async with open_orders() as units, units.begin() as uow:
            connection = cast(PostgresTransaction, uow.transaction).connection
            await connection.execute(text("set enable_seqscan = off"))
            statement = text(f"explain {postgres._ORDER_WITH_ADDRESS.text}")
            plan = "\n".join((await connection.scalars(statement, {"consumer_id": CONSUMER})).all())
        assert " orders_with_address " in plan
