"""The order history's rows and their search: the same in memory and on PostgreSQL."""

import importlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Select, create_engine, text
from sqlalchemy.dialects import postgresql

from kernel.values import ConsumerId, LineItem, MenuItemId, Money, OrderId
from order_history.adapters import memory, postgres
from order_history.history import (
    MAX_WORDS,
    Criteria,
    DeliveryStatus,
    OrderHistoryUnitOfWork,
    OrderRecord,
    OrderStatus,
    Place,
    Revision,
    find_orders,
)
from order_history.tests.story import CONSUMER, NOON, PIZZA, RESTAURANT, SALAD
from order_history.words import words_in_search
from shared.adapters.memory.database import MemoryDatabase
from shared.adapters.postgres.addresses import engine_url
from shared.adapters.postgres.database import PostgresDatabase, PostgresTransaction
from shared.core.clock import utc_now
from shared.core.policy import Policy
from shared.host.migrations import migrate
from shared.host.provision import Database
from shared.unit_of_work import rows as rows_module
from shared.unit_of_work.unit_of_work import Units

HistoryUnits = Units[OrderHistoryUnitOfWork]
Open = Callable[[], AbstractAsyncContextManager[HistoryUnits]]

SOMEBODY_ELSE = ConsumerId("0197f3a0-0000-7000-8000-0000000000ff")
MINUTE = timedelta(minutes=1)


def order(number: int, *names: str, minutes: float | None = None, **fields: Any) -> OrderRecord:
    """The record of an order; the higher its number the newer, unless `minutes` says otherwise."""
    created_at = NOON + (number if minutes is None else minutes) * MINUTE
    record = OrderRecord(
        id=f"0197f3a0-0000-7000-8000-{number:012}",
        consumer_id=CONSUMER,
        restaurant_id=RESTAURANT,
        restaurant_name=names[0] if names else "Ajanta",
        ordered_items=tuple(
            LineItem(menu_item_id=MenuItemId(name), name=name, price=Money(100), quantity=1) for name in names[1:]
        ),
        created_at=created_at,
        updated_at=created_at,
    )
    record = replace(record, **fields)
    record.index_words()
    return record


async def keep(units: HistoryUnits, *orders: OrderRecord) -> None:
    async with units.begin() as uow:
        for record in orders:
            await uow.orders.add(record)


async def found(units: HistoryUnits, *, before: Place | None = None, limit: int = 50, **criteria: Any) -> list[int]:
    """The numbers of the orders on one page."""
    wanted = Criteria(**{"consumer_id": CONSUMER, **criteria})
    async with units.begin() as uow:
        return [number_of(id_) for id_ in await uow.search.find(wanted, before=before, limit=limit)]


def number_of(id_: str) -> int:
    return int(id_[-12:])


class HistorySuite:
    """What both do. The fixture `open_history` opens an empty one."""

    async def test_a_record_is_kept_as_it_is(self, open_history: Open) -> None:
        bare = OrderRecord(id="bare", updated_at=NOON)
        full = OrderRecord(
            id="full",
            order_version=7,
            status=OrderStatus.REVISION_PENDING,
            delivery_version=3,
            delivery_status=DeliveryStatus.PICKED_UP,
            consumer_id=CONSUMER,
            restaurant_id=RESTAURANT,
            restaurant_name='L\'"Étoile" 🍕',
            ordered_items=(PIZZA, SALAD),
            ordered_total=Money(100_000_000 * 10_000 * 100),
            revisions=(
                Revision(version=4, quantities={MenuItemId("pizza"): 0}, order_total=Money(800)),
                Revision(version=6, quantities={}, order_total=Money(10**14)),
            ),
            created_at=NOON,
            updated_at=NOON + MINUTE,
        )
        full.index_words()
        async with open_history() as units:
            await keep(units, bare, full)
            async with units.begin() as uow:
                kept = [await uow.orders.get("bare"), await uow.orders.get("full")]
            assert kept == [bare, full]
            async with units.begin() as uow:
                changed = await uow.orders.get("bare")
                changed.consumer_id, changed.created_at, changed.words = CONSUMER, NOON, "a b"
            async with units.begin() as uow:
                kept = [await uow.orders.get("bare")]
            assert kept == [replace(bare, version=2, consumer_id=CONSUMER, created_at=NOON, words="a b")]

    async def test_the_newest_come_first(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, order(2, minutes=2), order(1, minutes=3), order(3, minutes=1), order(4, minutes=2))
            assert await found(units) == [1, 4, 2, 3]
            assert await found(units, limit=3) == [1, 4, 2]

    async def test_only_the_consumers_orders_are_found(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, order(1), order(2, consumer_id=SOMEBODY_ELSE), order(3))
            assert await found(units) == [3, 1]
            assert await found(units, words=frozenset({"ajanta"})) == [3, 1]
            assert await found(units, consumer_id=SOMEBODY_ELSE) == [2]

    async def test_an_order_that_was_not_created_yet_is_not_found(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, OrderRecord(id="heard of", updated_at=NOON), order(1))
            assert await found(units) == [1]
            assert await found(units, words=frozenset({"ajanta"})) == [1]

    async def test_pages_neither_repeat_nor_skip_while_orders_come(self, open_history: Open) -> None:
        async with open_history() as units:
            # Many at the same moment: the place in the list is the id's then.
            await keep(units, *(order(number, minutes=number // 4) for number in range(1, 24)))
            seen: list[int] = []
            place = None
            for newer in range(100, 200):
                async with units.begin() as uow:
                    page, place = await find_orders(Criteria(consumer_id=CONSUMER), uow, before=place, limit=5)
                seen += [number_of(record.id) for record in page]
                if place is None:
                    break
                await keep(units, order(newer))
            assert seen == list(range(23, 0, -1))

    async def test_a_last_page_that_is_full_is_the_last(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, order(1), order(2))
            async with units.begin() as uow:
                page, place = await find_orders(Criteria(consumer_id=CONSUMER), uow, before=None, limit=2)
            assert (len(page), place) == (2, None)

    async def test_since(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, order(1), order(2), order(3))
            at_2 = NOON + 2 * MINUTE
            assert await found(units, since=at_2) == [3, 2]
            assert await found(units, since=at_2 + timedelta(microseconds=1)) == [3]
            assert await found(units, since=at_2, before=(NOON + 3 * MINUTE, OrderId(order(3).id))) == [2]

    async def test_status(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, *(order(number, status=status) for number, status in enumerate(OrderStatus)))
            for number, status in enumerate(OrderStatus):
                assert await found(units, status=status) == [number]
                assert await found(units, status=status, words=frozenset({"ajanta"})) == [number]

    @pytest.mark.parametrize("looked_through", [1, 100], ids=["few looked through", "many looked through"])
    async def test_words(self, open_history: Open, monkeypatch: pytest.MonkeyPatch, looked_through: int) -> None:
        monkeypatch.setattr(postgres, "LOOKED_THROUGH", looked_through)
        async with open_history() as units:
            await keep(
                units,
                order(1, "Ajanta", "Rice"),
                order(2, "Thai Garden", "Rice"),
                order(3, "Garden", "Mango rice"),
                order(4, "Ajanta", "Mango-Lassi", "Rice"),
                order(5, "Salade d'Été & 🍕 approved", "rice"),
            )
            for keywords, numbers in (
                ("AJANTA", [4, 1]),
                ("ajanta lassi", [4]),
                ("mango", [4, 3]),
                ("ajan", []),
                ("thai mango", []),
                ("rice", [5, 4, 3, 2, 1]),
                ("Approved", [5]),
                ("& 🍕", [5]),
                ("d'été", [5]),
                (CONSUMER, []),
                ("' or 1=1 -- \\ { } , \" %", []),
            ):
                for limit in (1, 2, 50):
                    assert await found(units, words=words_in_search(keywords), limit=limit) == numbers[:limit]

    async def test_words_of_any_script(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, order(1, "दाल महल"), order(2, "दिल महल"), order(3, "東京寿司店"), order(4, "İSTANBUL"))
            for keywords, numbers in (
                ("दाल", [1]),
                ("दिल", [2]),
                ("महल", [2, 1]),
                ("寿司", [3]),
                ("司寿", []),
                ("istanbul", [4]),
            ):
                assert await found(units, words=words_in_search(keywords)) == numbers

    async def test_words_of_an_order_that_changed(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, order(1, "Ajanta", "Lassi", "Rice"))
            async with units.begin() as uow:
                record = await uow.orders.get(order(1).id)
                quantities = {MenuItemId("Lassi"): 0}
                record.revise(Revision(version=3, quantities=quantities, order_total=Money(100)))
                record.index_words()
            assert await found(units, words=frozenset({"lassi"})) == []
            assert await found(units, words=frozenset({"rice"})) == [1]

    async def test_the_longest_names(self, open_history: Open) -> None:
        # What can't be compressed: an index would refuse it as one word.
        name = "".join(map(chr, random.Random(1).sample(range(0x4E00, 0x9FA5), 1000)))
        async with open_history() as units:
            await keep(units, order(1, name), order(2, name[::-1]))
            assert await found(units, words=words_in_search(name)) == [1]

    async def test_any_search_finds_what_a_plain_filter_finds(
        self, open_history: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres, "LOOKED_THROUGH", 3)
        dice = random.Random(1)
        vocabulary = ["pizza", "thai", "curry", "soup", "rice"]
        orders = [
            order(
                number,
                *dice.choices(vocabulary, k=3),
                minutes=number // 3,
                status=dice.choice([OrderStatus.APPROVED, OrderStatus.APPROVED, OrderStatus.CANCELLED]),
                consumer_id=dice.choice([CONSUMER, CONSUMER, SOMEBODY_ELSE]),
            )
            for number in range(1, 121)
        ]
        async with open_history() as units:
            await keep(units, *orders)
            for _ in range(200):
                at = dice.choice(orders)
                criteria = Criteria(
                    consumer_id=CONSUMER,
                    since=dice.choice([None, dice.choice(orders).created_at]),
                    status=dice.choice([None, OrderStatus.APPROVED, OrderStatus.CANCELLED, OrderStatus.REJECTED]),
                    words=frozenset(dice.sample([*vocabulary, "sushi"], k=dice.randrange(4))),
                )
                before = dice.choice([None, (cast(datetime, at.created_at), OrderId(at.id))])
                limit = dice.randrange(1, 12)
                async with units.begin() as uow:
                    ids = await uow.search.find(criteria, before=before, limit=limit)
                assert [number_of(id_) for id_ in ids] == plainly(orders, criteria, before, limit)

    async def test_large_orders_make_shorter_pages(self, open_history: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows_module, "MAX_PAGE", 3000)
        async with open_history() as units:
            await keep(units, *(order(n, 500 * "x", 400 * str(n)) for n in range(1, 8)))
            pages: list[list[int]] = []
            before = None
            async with units.begin() as uow:
                while not pages or before is not None:
                    page, before = await find_orders(Criteria(consumer_id=CONSUMER), uow, before=before, limit=5)
                    pages.append([number_of(record.id) for record in page])
        assert [number for page in pages for number in page] == [7, 6, 5, 4, 3, 2, 1]
        assert all(1 <= len(page) < 5 for page in pages)

    async def test_more_words_than_an_order_is_found_by_find_nothing(self, open_history: Open) -> None:
        async with open_history() as units:
            await keep(units, order(1, "Ajanta", *(f"w{n}" for n in range(2 * MAX_WORDS))))
            for number, expected in ((MAX_WORDS - 1, [1]), (MAX_WORDS + 1, [])):
                words = frozenset(["ajanta", *(f"w{n}" for n in range(number - 1))])
                async with units.begin() as uow:
                    page, _ = await find_orders(Criteria(consumer_id=CONSUMER, words=words), uow, before=None, limit=5)
                assert [number_of(record.id) for record in page] == expected


def plainly(orders: Sequence[OrderRecord], criteria: Criteria, before: Place | None, limit: int) -> list[int]:
    """The numbers of the orders that fit, without any cleverness."""
    fitting = []
    for record in orders:
        assert record.created_at is not None
        if record.consumer_id != criteria.consumer_id:
            continue
        if criteria.since and record.created_at < criteria.since:
            continue
        if criteria.status and record.status != criteria.status:
            continue
        if any(word not in record.words.split() for word in criteria.words):
            continue
        if before and (record.created_at, record.id) >= before:
            continue
        fitting.append((record.created_at, number_of(record.id)))
    return [number for _, number in sorted(fitting, reverse=True)][:limit]


class TestMemory(HistorySuite):
    """In memory."""

    @pytest.fixture
    def open_history(self) -> Open:
        @asynccontextmanager
        async def opened() -> AsyncIterator[HistoryUnits]:
            yield Units(
                MemoryDatabase(), lambda transaction: memory.unit_of_work(cast(Any, transaction), utc_now, Policy())
            )

        return opened


class TestPostgres(HistorySuite):
    """On PostgreSQL."""

    @pytest.fixture
    def database(self, new_database: Callable[[str], Database]) -> Database:
        provisioned = new_database("order_history")
        migrate(provisioned.service, provisioned.migrations_url)
        return provisioned

    @pytest.fixture
    def open_history(self, database: Database) -> Open:
        @asynccontextmanager
        async def opened() -> AsyncIterator[HistoryUnits]:
            opened = PostgresDatabase(database.url, postgres.TABLES)
            try:
                yield Units(
                    opened, lambda transaction: postgres.unit_of_work(cast(Any, transaction), utc_now, Policy())
                )
            finally:
                await opened.close()

        return opened

    async def test_each_search_has_its_index(self, open_history: Open) -> None:
        """The planner reads a small table as a whole; told not to, it must find an index that fits the statement."""
        everything = Criteria(
            consumer_id=CONSUMER, since=NOON, status=OrderStatus.APPROVED, words=frozenset({"pizza", "thai"})
        )
        place = (NOON, OrderId("z"))
        statements = {
            "orders_of_consumer": postgres._newest(postgres._orders, Criteria(consumer_id=CONSUMER), place, 21),
            "orders_by_status": postgres._newest(postgres._orders, replace(everything, words=frozenset()), place, 21),
            "orders_by_terms": postgres._by_their_words(everything, place, 21),
        }
        async with open_history() as units, units.begin() as uow:
            transaction = cast(PostgresTransaction, uow.transaction)
            await transaction.connection.execute(text("set local enable_seqscan = off"))
            for index, statement in statements.items():
                plan = await explained(transaction, statement)
                assert f" {index} " in plan
                assert "Sort" not in plan or index == "orders_by_terms", "it is sorted as it is read"
            looking_through = postgres._among_the_newest(everything, place, 21, 2100)
            assert "Sort" not in await explained(transaction, looking_through), "it ends as soon as there are enough"

    async def test_orders_from_before_words_had_marks_are_found(self, database: Database, open_history: Open) -> None:
        """A database of the version before: the words of its rows are made anew, by what is ordered now."""
        revised = order(3, "Ajanta", "Lassi", "दाल")
        revised.revise(Revision(version=3, quantities={MenuItemId("Lassi"): 0}, order_total=Money(100)))
        async with open_history() as units:
            await keep(units, order(1, "दाल महल"), order(2, "Pizza"), revised, OrderRecord(id="bare", updated_at=NOON))
        migration = importlib.import_module("order_history.migrations.0009_words_of_all_scripts")
        engine = create_engine(engine_url(database.migrations_url, "psycopg2"))
        with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
            connection.execute(text("update orders set words = 'द ल' where words ~ 'द'"))
            migration.upgrade()
        engine.dispose()
        async with open_history() as units:
            assert await found(units, words=words_in_search("दाल")) == [3, 1]
            assert await found(units, words=words_in_search("lassi")) == []
            async with units.begin() as uow:
                assert [(await uow.orders.get(order(number).id)).version for number in (1, 2, 3)] == [2, 1, 2]


async def explained(transaction: PostgresTransaction, statement: Select[Any]) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    plan = await transaction.driver.fetch(f"explain {compiled}")
    return "\n".join(line for (line,) in plan)
