"""The order history, whatever has happened to orders and deliveries, and in whatever order it hears of it."""

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.delivery import Delivery
from order.domain.order import Order
from order_history import projection
from order_history.adapters.memory import unit_of_work
from order_history.history import OrderHistoryUnitOfWork, OrderRecord
from order_history.tests.story import Happened
from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import utc_now
from shared.core.policy import Policy
from shared.messaging.envelope import Received
from shared.messaging.handlers import Handlers
from shared.processing.dispatcher import Dispatcher
from shared.unit_of_work.unit_of_work import Units
from tests.properties.values import NOON, SOME, Draw, beginnings, something_happens

ORDERS = ["order-1", "order-2", "order-3"]
HANDLERS = Handlers.of(projection)


def lines(draw: Draw) -> list[list[Happened]]:
    """What happens to some orders and their deliveries: each line in its own order, as its sender committed it."""
    found = []
    for id_ in ORDERS:
        for aggregate in (draw(beginnings(Order, id_)), Delivery(id=id_)):
            for _ in range(draw(st.integers(0, 15))):
                something_happens(draw, aggregate)
            events = enumerate(aggregate.take_recorded(), start=1)
            heard = ((version, event) for version, event in events if type(event) in HANDLERS)
            found.append([Happened(event, version, NOON + timedelta(minutes=version)) for version, event in heard])
    return [line for line in found if line]


def interleaved(told: Sequence[Sequence[Received]], seed: int) -> list[Received]:
    """All of them in one of the orders that keep each line's."""
    shuffled = random.Random(seed)
    waiting = [list(line) for line in told]
    arrived = []
    while waiting := [line for line in waiting if line]:
        arrived.append(shuffled.choice(waiting).pop(0))
    return arrived


async def rows_after(arrived: Sequence[Received], sizes: int) -> dict[str, Any]:
    """The history's rows when the messages have come in batches of that size, without the counts of their writes."""
    database = MemoryDatabase()
    units: Units[OrderHistoryUnitOfWork] = Units(
        database, lambda transaction: unit_of_work(cast(Any, transaction), utc_now, Policy())
    )
    dispatcher: Dispatcher[OrderHistoryUnitOfWork] = Dispatcher(HANDLERS, Policy(), utc_now)
    for start in range(0, len(arrived), sizes):
        async with units.begin() as uow:
            await dispatcher.handle(uow, arrived[start : start + sizes], 0)
    rows = database.tables.get(OrderRecord, {})
    return {id_: dataclasses.replace(cast(OrderRecord, row), version=0) for id_, row in rows.items()}


@given(st.data(), st.integers(), st.integers(), st.integers(1, 20))
@SOME
def test_any_order_that_keeps_each_lines_gives_the_same_rows(
    data: st.DataObject, one: int, another: int, size: int
) -> None:
    told = [[happened.received() for happened in line] for line in lines(data.draw)]
    first, second = interleaved(told, one), interleaved(told, another)
    assert asyncio.run(rows_after(second, size)) == asyncio.run(rows_after(first, 1))


@given(st.data(), st.randoms(use_true_random=False), st.integers(1, 20))
@SOME
def test_so_does_any_order_at_all_with_any_repeats(data: st.DataObject, shuffled: random.Random, size: int) -> None:
    """More than is promised: a history that is built anew reads orders and deliveries one after the other."""
    happenings = [happened for line in lines(data.draw) for happened in line]
    # The second time as other messages: their versions alone say that they are no news.
    again = [*happenings, *happenings]
    shuffled.shuffle(again)
    first = [happened.received() for happened in happenings]
    second = [happened.received() for happened in again]
    assert asyncio.run(rows_after(second, size)) == asyncio.run(rows_after(first, 1))
