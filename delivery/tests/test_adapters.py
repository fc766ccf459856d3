"""The lines of couriers and deliveries: one suite for memory and PostgreSQL; and what only PostgreSQL can show, two
transactions at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from delivery.domain.courier import Courier
from delivery.domain.delivery import Delivery, DeliveryStatus
from delivery.tests.world import (
    FRONT_DOOR,
    KITCHEN_DOOR,
    MINUTE,
    NOON,
    READY_BY,
    World,
    in_memory,
    in_postgres,
    new_courier,
    new_order,
    off_duty,
    on_duty,
    order_cancelled,
    order_created,
    restaurant_created,
    ticket_accepted,
)
from kernel.values import CourierId, OrderId
from shared.core.errors import Conflict
from shared.host.migrations import migrate
from shared.host.provision import Database

Worlds = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture
def postgres_world(new_database: Callable[[str], Database]) -> Worlds:
    """A world on a fresh, migrated database; every call is a world of its own on the same one."""
    provisioned = new_database("delivery")
    migrate(provisioned.service, provisioned.migrations_url)
    return lambda: in_postgres(provisioned.url)


@pytest.fixture(params=["memory", "postgres"])
def world(request: pytest.FixtureRequest) -> Worlds:
    """A world on each of the adapters."""
    if request.param == "postgres":
        worlds: Worlds = request.getfixturevalue("postgres_world")
        return worlds

    @asynccontextmanager
    async def memory() -> AsyncIterator[World]:
        yield in_memory()

    return memory


def free(id_: str, minutes: int = 0) -> Courier:
    """A courier who has been free since then."""
    courier = Courier(id=id_)
    courier.set_available(True, NOON + minutes * MINUTE)
    return courier


def busy(id_: str) -> Courier:
    """A courier with a plan."""
    courier = free(id_)
    waiting(f"of {id_}").schedule(courier)
    return courier


def pending(id_: str) -> Delivery:
    """A delivery of an order that was placed."""
    delivery = Delivery(id=id_)
    delivery.create(KITCHEN_DOOR, FRONT_DOOR)
    return delivery


def waiting(id_: str, minutes: int = 0) -> Delivery:
    """A delivery that waits for a courier since then."""
    delivery = pending(id_)
    delivery.accept(NOON + minutes * MINUTE, READY_BY)
    return delivery


def heard_of(id_: str) -> Delivery:
    """A delivery that was accepted; its order has not arrived."""
    delivery = Delivery(id=id_)
    delivery.accept(NOON, READY_BY)
    return delivery


def cancelled(id_: str) -> Delivery:
    """A delivery that waited, and no longer does."""
    delivery = waiting(id_)
    delivery.cancel()
    return delivery


def picked_up(id_: str) -> Delivery:
    """A delivery that waited, and went without a courier."""
    delivery = waiting(id_)
    delivery.pick_up()
    return delivery


@pytest.mark.parametrize(
    ("deliveries", "couriers", "expected"),
    [
        ([], [], None),
        ([], [free("c")], None),
        ([waiting("d")], [], None),
        ([waiting("d")], [Courier(id="off duty"), busy("c")], None),
        ([pending("d"), heard_of("e"), cancelled("f"), picked_up("g")], [free("c")], None),
        ([waiting("d")], [free("c")], ("d", "c")),
        ([waiting("a", 2), waiting("b", 1), waiting("c", 3)], [free("c")], ("b", "c")),
        ([waiting("d")], [free("a", 2), free("b", 1), free("c", 3)], ("d", "b")),
        ([waiting("e"), waiting("d")], [free("b"), free("a")], ("d", "a")),
        ([pending("a"), waiting("b", 1)], [busy("a"), free("b", 1)], ("b", "b")),
    ],
)
async def test_the_first_of_both_lines(
    world: Worlds,
    deliveries: list[Delivery],
    couriers: list[Courier],
    expected: tuple[str, str] | None,
) -> None:
    async with world() as w, w.units.begin() as uow:
        for delivery in deliveries:
            await uow.deliveries.add(delivery)
        for courier in couriers:
            await uow.couriers.add(courier)
        pair = await uow.next_to_assign()
        assert (pair and (pair[0].id, pair[1].id)) == expected


async def test_what_one_unit_of_work_has_assigned_is_no_longer_in_the_lines(world: Worlds) -> None:
    async with world() as w:
        async with w.units.begin() as uow:
            for minutes, id_ in enumerate("abc"):
                await uow.deliveries.add(waiting(id_, minutes))
                await uow.couriers.add(free(id_.upper(), minutes))
            assigned = []
            while pair := await uow.next_to_assign():
                delivery, courier = pair
                delivery.schedule(courier)
                assigned.append((delivery.id, courier.id))
        assert assigned == [("a", "A"), ("b", "B"), ("c", "C")]
        assert await w.couriers_of(OrderId("a"), OrderId("b"), OrderId("c")) == ["A", "B", "C"]


async def test_rows_are_read_as_they_were_written(world: Worlds) -> None:
    delivery, courier = waiting("d"), free("c")
    delivery.schedule(courier)
    async with world() as w:
        async with w.units.begin() as uow:
            for row in (delivery, heard_of("h"), cancelled("x")):
                await uow.deliveries.add(row)
            await uow.couriers.add(courier)
        assert await w.delivery(OrderId("d")) == delivery
        assert await w.courier(CourierId("c")) == courier
        early = await w.delivery(OrderId("h"))
        assert (early.status, early.pickup_address, early.accepted_at) == (DeliveryStatus.NEW, None, NOON)
        assert (await w.delivery(OrderId("x"))).status is DeliveryStatus.CANCELLED


async def test_orders_are_served_from_the_first_news_to_the_last_courier(world: Worlds) -> None:
    async with world() as w:
        orders, couriers = [new_order() for _ in range(4)], [new_courier(), new_courier()]
        await w.handle(restaurant_created(), *(on_duty(courier) for courier in couriers))
        await w.handle(*(ticket_accepted(order, w.clock()) for order in orders))
        await w.handle(*(order_created(order) for order in orders))
        assert await w.couriers_of(*orders) == [*couriers, None, None]
        await w.handle(*(order_cancelled(order) for order in orders[:2]))
        assert await w.couriers_of(*orders) == [None, None, *couriers]


@pytest.mark.parametrize("courier_first", [True, False])
async def test_a_courier_and_a_delivery_that_come_at_once_find_each_other(
    postgres_world: Worlds, courier_first: bool
) -> None:
    order, courier = new_order(), new_courier()
    async with postgres_world() as first, postgres_world() as second:
        await first.handle(restaurant_created(), order_created(order))
        news = [on_duty(courier), ticket_accepted(order)]
        if not courier_first:
            news.reverse()
        async with first.units.begin() as uow:
            await first.handle_in(uow, news[0])
            following = asyncio.create_task(second.handle(news[1]))
            await until(lambda: done_or_held_up(following, uow.transaction))
        await following
        assert await first.couriers_of(order) == [courier]
        assert len((await first.courier(courier)).plan) == 2


async def test_a_courier_is_taken_by_one_transaction_only(postgres_world: Worlds) -> None:
    orders, courier = [new_order(), new_order()], new_courier()
    async with postgres_world() as first, postgres_world() as second:
        await first.handle(restaurant_created(), on_duty(courier), *(order_created(order) for order in orders))
        async with first.units.begin() as uow:
            await first.handle_in(uow, ticket_accepted(orders[0]))
            following = asyncio.create_task(second.handle(ticket_accepted(orders[1])))
            await until(lambda: done_or_held_up(following, uow.transaction))
        await following
        assert await first.couriers_of(*orders) == [courier, None]


async def test_what_was_read_before_another_transaction_changed_it_is_not_assigned(postgres_world: Worlds) -> None:
    order, courier = new_order(), new_courier()
    async with postgres_world() as first, postgres_world() as second:
        await first.handle(restaurant_created(), off_duty(courier), order_created(order))

        async def with_a_stale_courier() -> None:
            async with first.units.begin() as uow:
                assert (await uow.couriers.get(courier)).free_since is None
                await second.handle(on_duty(courier))
                await first.handle_in(uow, ticket_accepted(order))

        with pytest.raises(Conflict):
            await with_a_stale_courier()
        await first.handle(ticket_accepted(order))
        assert await first.couriers_of(order) == [courier]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for it; the test's time limit is the only one."""
    while not await condition():
        await asyncio.sleep(0.01)


async def done_or_held_up(task: "asyncio.Task[None]", transaction: object) -> bool:
    """Whether the other transaction has ended, or waits for a lock."""
    driver = transaction.driver  # type: ignore[attr-defined]
    return task.done() or await driver.fetchval("select exists (select from pg_locks where not granted)")
