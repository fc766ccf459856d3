"""What the history makes of events: of each, and of any number of them in any order."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import delivery.contracts
import order.contracts
from delivery.contracts import DeliveryCancelled, DeliveryDelivered, DeliveryPickedUp, DeliveryScheduled
from kernel.values import LineItem, MenuItemId, Money, with_quantities
from order.contracts import OrderCancelled, OrderCancelling, OrderCancellingUndone, OrderRejected, OrderRevisingUndone
from order_history import projection
from order_history.adapters.memory import unit_of_work
from order_history.history import (
    DeliveryStatus,
    OrderHistoryUnitOfWork,
    OrderNotFound,
    OrderRecord,
    OrderStatus,
    Revision,
    get_order,
)
from order_history.tests.story import (
    CONSUMER,
    COURIER,
    MINUTE,
    NOON,
    ORDER,
    PIZZA,
    RESTAURANT,
    SALAD,
    STORY,
    Happened,
    approved,
    created,
    proposed,
    revised,
)
from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import utc_now
from shared.core.messages import Event
from shared.core.policy import Policy
from shared.messaging.handlers import Handlers
from shared.processing.dispatcher import Dispatcher
from shared.unit_of_work.unit_of_work import Units


class History:
    """The projection on a memory database."""

    def __init__(self) -> None:
        self.dispatcher: Dispatcher[OrderHistoryUnitOfWork] = Dispatcher(Handlers.of(projection), Policy(), utc_now)
        self.units = Units(
            MemoryDatabase(), lambda transaction: unit_of_work(cast(Any, transaction), utc_now, Policy())
        )

    async def hear(self, *happened: Happened) -> None:
        """Handles the messages, one transaction each."""
        for it in happened:
            async with self.units.begin() as uow:
                await self.dispatcher.handle(uow, [it.received()], 0)

    async def hear_at_once(self, happened: Sequence[Happened]) -> None:
        """Handles the messages in one batch."""
        async with self.units.begin() as uow:
            await self.dispatcher.handle(uow, [it.received() for it in happened], 0)

    async def shown(self) -> OrderRecord:
        """The order as clients see it; raises OrderNotFound."""
        async with self.units.begin() as uow:
            return await get_order(ORDER, uow)


async def after(*happened: Happened) -> OrderRecord:
    history = History()
    await history.hear(*happened)
    return await history.shown()


def test_every_event_of_orders_and_deliveries_is_handled() -> None:
    """But what only forgets an address: none is kept here."""
    handled = {message for message in Handlers.of(projection) if issubclass(message, Event)}
    declared = {
        message
        for contracts in (order.contracts, delivery.contracts)
        for message in vars(contracts).values()
        if isinstance(message, type) and issubclass(message, Event) and message is not Event and not message.erases
    }
    assert handled == declared


async def test_a_created_order() -> None:
    shown = await after(created(at=NOON))
    assert replace(shown, words="") == OrderRecord(
        id=ORDER,
        version=1,
        order_version=1,
        status=OrderStatus.APPROVAL_PENDING,
        delivery_version=0,
        delivery_status=DeliveryStatus.PENDING,
        consumer_id=CONSUMER,
        restaurant_id=RESTAURANT,
        restaurant_name="Luigi's Trattoria",
        ordered_items=(PIZZA, SALAD),
        ordered_total=shown.ordered_total,
        created_at=NOON,
        updated_at=NOON,
    )
    assert set(shown.words.split()) == {"luigi", "s", "trattoria", "pizza", "margherita", "caesar", "salad"}
    assert shown.line_items == (PIZZA, SALAD)
    assert shown.order_total == 3300


CANCELLING = Happened(OrderCancelling(order_id=ORDER), 3)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([approved()], OrderStatus.APPROVED),
        ([Happened(OrderRejected(order_id=ORDER, reason="no"), 2)], OrderStatus.REJECTED),
        ([approved(), CANCELLING], OrderStatus.CANCEL_PENDING),
        (
            [approved(), CANCELLING, Happened(OrderCancellingUndone(order_id=ORDER, reason="no"), 4)],
            OrderStatus.APPROVED,
        ),
        ([approved(), CANCELLING, Happened(OrderCancelled(order_id=ORDER), 4)], OrderStatus.CANCELLED),
        ([approved(), proposed(3)], OrderStatus.REVISION_PENDING),
        (
            [approved(), proposed(3), Happened(OrderRevisingUndone(order_id=ORDER, reason="no"), 4)],
            OrderStatus.APPROVED,
        ),
        ([approved(), proposed(3), revised({"pizza": 1}, 2050, 4)], OrderStatus.APPROVED),
    ],
)
async def test_the_status_follows_the_order(events: list[Happened], status: OrderStatus) -> None:
    assert (await after(created(), *events)).status is status


SCHEDULED = Happened(DeliveryScheduled(order_id=ORDER, courier_id=COURIER, ready_by=NOON), 1)
PICKED_UP = Happened(DeliveryPickedUp(order_id=ORDER, courier_id=None), 2)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], DeliveryStatus.PENDING),
        ([SCHEDULED], DeliveryStatus.SCHEDULED),
        ([SCHEDULED, PICKED_UP], DeliveryStatus.PICKED_UP),
        (
            [SCHEDULED, PICKED_UP, Happened(DeliveryDelivered(order_id=ORDER, courier_id=COURIER), 3)],
            DeliveryStatus.DELIVERED,
        ),
        ([Happened(DeliveryCancelled(order_id=ORDER), 1)], DeliveryStatus.CANCELLED),
    ],
)
async def test_the_delivery_status_follows_the_delivery(events: list[Happened], status: DeliveryStatus) -> None:
    shown = await after(created(), approved(), *events)
    assert (shown.delivery_status, shown.status) == (status, OrderStatus.APPROVED)


async def test_a_proposed_revision_changes_no_items() -> None:
    shown = await after(created(), approved(), proposed(3))
    assert (shown.line_items, shown.order_total) == ((PIZZA, SALAD), 3300)


async def test_a_revision_changes_items_total_and_words() -> None:
    shown = await after(created(), approved(), proposed(3), revised({"pizza": 5, "salad": 0}, 6250, 4))
    assert shown.line_items == (replace(PIZZA, quantity=5),)
    assert shown.order_total == 6250
    assert "margherita" in shown.words.split()
    assert "caesar" not in shown.words.split()


async def test_a_second_revision_builds_on_the_first() -> None:
    shown = await after(created(), revised({"pizza": 5, "salad": 3}, 8650, 4), revised({"pizza": 1}, 3650, 6))
    assert shown.line_items == (replace(PIZZA, quantity=1), replace(SALAD, quantity=3))
    assert shown.order_total == 3650


async def test_it_is_dated_by_the_events() -> None:
    shown = await after(created(at=NOON), approved(at=NOON + MINUTE), replace(SCHEDULED, at=NOON + 3 * MINUTE))
    assert (shown.created_at, shown.updated_at) == (NOON, NOON + 3 * MINUTE)


async def test_an_order_is_shown_once_its_creation_is_in() -> None:
    history = History()
    with pytest.raises(OrderNotFound):
        await history.shown()
    await history.hear(SCHEDULED, replace(approved(), at=NOON + MINUTE))
    with pytest.raises(OrderNotFound):
        await history.shown()
    await history.hear(created(at=NOON))
    shown = await history.shown()
    assert (shown.status, shown.delivery_status) == (OrderStatus.APPROVED, DeliveryStatus.SCHEDULED)
    assert (shown.created_at, shown.updated_at) == (NOON, NOON + MINUTE)


async def test_orders_are_kept_apart() -> None:
    history = History()
    another = "0197f3a0-0000-7000-8000-000000000002"
    await history.hear(created(), created(another), approved(another))
    assert (await history.shown()).status is OrderStatus.APPROVAL_PENDING


async def test_what_is_older_is_skipped() -> None:
    history = History()
    await history.hear(created(), approved(), CANCELLING, SCHEDULED, PICKED_UP)
    before = await history.shown()
    await history.hear(approved(), created(), SCHEDULED)
    assert await history.shown() == before, "nothing was written, not even a new version of the row"


def test_any_order_and_any_repeats_make_the_same_record() -> None:
    expected = asyncio.run(after(*STORY))
    assert (expected.status, expected.delivery_status) == (OrderStatus.CANCELLED, DeliveryStatus.PICKED_UP)
    assert (expected.line_items, expected.order_total) == ((replace(PIZZA, quantity=1),), 1250)

    @given(st.permutations(STORY), st.lists(st.sampled_from(STORY), max_size=10), st.booleans())
    def holds(shuffled: list[Happened], again: list[Happened], at_once: bool) -> None:
        async def heard() -> OrderRecord:
            history = History()
            if at_once:
                await history.hear_at_once([*shuffled, *again])
            else:
                await history.hear(*shuffled, *again)
            return await history.shown()

        assert replace(asyncio.run(heard()), version=expected.version) == expected

    holds()


async def test_an_event_without_a_version_is_a_fault() -> None:
    with pytest.raises(ValueError, match="can't be put in order"):
        await after(Happened(created().event, None))


_ITEMS = st.sampled_from([PIZZA.menu_item_id, SALAD.menu_item_id])
_QUANTITIES = st.dictionaries(_ITEMS, st.integers(1, 9), min_size=1)


@given(st.lists(_QUANTITIES, max_size=6), st.randoms(use_true_random=False))
def test_however_often_an_order_is_revised_no_more_is_kept_than_it_has_items(
    revised: list[dict[MenuItemId, int]], dice: random.Random
) -> None:
    revisions = [
        Revision(version=n, quantities=quantities, order_total=Money(n)) for n, quantities in enumerate(revised, 3)
    ]
    items: tuple[LineItem, ...] = (PIZZA, SALAD)
    expected = items
    for revision in revisions:
        expected = with_quantities(expected, revision.quantities)
    record = OrderRecord(id=ORDER, ordered_items=items, updated_at=NOON)
    # They come in any order, and some of them twice.
    for revision in dice.sample(revisions * 2, k=2 * len(revisions)):
        record.revise(revision)
    assert record.line_items == expected
    assert record.order_total == (revisions[-1].order_total if revisions else 0)
    assert sum(len(revision.quantities) for revision in record.revisions) <= len(items)
    assert len(record.revisions) <= len(items)


def test_revisions_that_were_kept_before_are_read_and_make_room() -> None:
    kept = tuple(Revision(version=n, quantities={MenuItemId("pizza"): n}, order_total=Money(n)) for n in range(3, 200))
    record = OrderRecord(id=ORDER, ordered_items=(PIZZA, SALAD), revisions=kept, updated_at=NOON)
    assert (record.line_items[0].quantity, record.order_total) == (199, 199)
    record.revise(Revision(version=200, quantities={MenuItemId("salad"): 1}, order_total=Money(7)))
    assert [revision.version for revision in record.revisions] == [199, 200]
    assert ([item.quantity for item in record.line_items], record.order_total) == ([199, 1], 7)
