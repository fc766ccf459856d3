"""The event store: appending, loading with and without snapshots, and rebuilding a read model from stored events."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, cast

from delivery.contracts import DeliveryDelivered, DeliveryPickedUp, DeliveryScheduled
from kernel.topology import BY_NAME, SERVICES
from kernel.values import (
    Address,
    ConsumerId,
    CourierId,
    LineItem,
    MenuItem,
    MenuItemId,
    Money,
    OrderId,
    RestaurantId,
    TicketId,
)
from order.adapters.postgres import TABLES, unit_of_work
from order.application.unit_of_work import OrderUnitOfWork
from order.contracts import OrderApproved, OrderCreated
from order.domain.order import Order, OrderState
from order.domain.restaurant import Restaurant
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.clock import utc_now
from shared.core.ids import new_id
from shared.core.messages import Event
from shared.core.policy import Policy
from shared.core.serialization import to_json
from shared.eventsourcing.snapshots import EVERY
from shared.eventsourcing.store import Metadata, StoredEvent
from shared.unit_of_work.unit_of_work import Units
from tools.bench.figures import Latency
from tools.bench.running import Running
from tools.system.process import LaunchError
from tools.system.system import RELAY

READ_MODEL = "order_history"
TIMES = 30
"""How often an aggregate is loaded."""
UNITS = 300
"""How many units of work append."""
_ROWS = 1000
"""The number of events written together when only their existence matters."""

_DISH = MenuItem(id=MenuItemId("chicken-vindaloo"), name="Chicken Vindaloo", price=Money(1234))
_ADDRESS = Address(street1="9 Amazing View", city="Oakland", state="CA", zip="94612")

_clock = time.perf_counter


@dataclass(frozen=True, kw_only=True)
class Appended:
    """How long the units of work took that append this many events to one order."""

    events: int
    latency: Latency | None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """How long it takes to load an order with this many events."""

    events: int
    with_snapshot: Latency | None
    without: Latency | None


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A rebuild of the read model, from its program's start to its end. `cpu` is in microseconds per event."""

    events: int
    seconds: float
    a_second: float
    cpu: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of one run."""

    number: int
    rebuilt: Rebuilt
    appended: list[Appended]
    loaded: list[Loaded]


async def measure(running: Running, runs: int, sizes: Sequence[int], orders: int) -> list[Measured]:
    """Rebuild the read model of this many orders `runs` times, then append and load as often on the idle system."""
    events = await fill(running, orders)
    rebuilt = [await rebuild(running, events) for _ in range(runs)]
    async with orders_alone(running) as store:
        return [
            Measured(
                number=number,
                rebuilt=each,
                appended=[await store.append(events) for events in (1, EVERY)],
                loaded=[await store.load(events) for events in sizes],
            )
            for number, each in enumerate(rebuilt, 1)
        ]


class Orders:
    """Appends to orders and loads them in the order service's own units of work."""

    def __init__(self, running: Running, units: Units[OrderUnitOfWork]) -> None:
        self._running = running
        self._units = units

    async def append(self, events: int) -> Appended:
        """Append this many events to an order in each unit of work."""
        id_ = await self._add()
        taken = []
        for _ in range(UNITS):
            begun = _clock()
            await self._go_on(id_, events)
            taken.append(_clock() - begun)
        return Appended(events=events, latency=Latency.of(taken))

    async def load(self, events: int) -> Loaded:
        """Load a new order with this many events, first through its snapshot and then without."""
        id_ = await self._add()
        for there in range(1, events, EVERY):
            await self._go_on(id_, min(EVERY, events - there))
        with_snapshot = [await self._loading(id_, events) for _ in range(TIMES)]
        async with self._running.admin("order") as connection:
            await connection.execute("delete from snapshots where id = $1", id_)
        without = [await self._loading(id_, events) for _ in range(TIMES)]
        return Loaded(events=events, with_snapshot=Latency.of(with_snapshot), without=Latency.of(without))

    async def _add(self) -> OrderId:
        async with self._units.begin() as uow:
            with uow.attempt():
                order = await uow.orders.add(_new_order())
        return order.order_id

    async def _go_on(self, id_: OrderId, events: int) -> None:
        async with self._units.begin() as uow:
            with uow.attempt():
                order = await uow.orders.get(id_)
                for _ in range(events):
                    _happen(order)

    async def _loading(self, id_: OrderId, events: int) -> float:
        begun = _clock()
        async with self._units.begin() as uow:
            order = await uow.orders.get(id_)
        took = _clock() - begun
        if order.version != events:
            raise LaunchError(f"an order of {events} events was loaded with {order.version}")
        return took


def _new_order() -> Order:
    restaurant, now = Restaurant(id=new_id(), name="Ajanta", menu=(_DISH,)), utc_now()
    return Order.place(
        OrderId(new_id()), ConsumerId(new_id()), restaurant, {_DISH.id: 1}, now + timedelta(hours=1), _ADDRESS, now
    )


def _happen(order: Order) -> None:
    """Add one more event: the order is approved, and then revised again and again."""
    quantities = {_DISH.id: 1 + order.version % 9}
    match order.state:
        case OrderState.APPROVAL_PENDING:
            order.approve(TicketId(new_id()))
        case OrderState.APPROVED:
            order.begin_revise(quantities)
        case _:
            order.confirm_revise(order.proposed_quantities)


@asynccontextmanager
async def orders_alone(running: Running) -> AsyncIterator[Orders]:
    """Stop the services and the relay, and give the order service's units of work."""
    for program in (RELAY, *(service.name for service in SERVICES)):
        await running.supervisor.take_down(program)
    database = PostgresDatabase(running.system.database(BY_NAME["order"]).url, TABLES)
    policy = Policy()
    try:
        yield Orders(running, Units(database, lambda each: unit_of_work(cast(Any, each), utc_now, policy)))
    finally:
        await database.close()


# The read model


async def fill(running: Running, orders: int) -> int:
    """Store the events of this many delivered orders, as if published long ago; returns the number of events."""
    count = 0
    for service, lives in {"order": map(_order, range(orders)), "delivery": map(_delivery, range(orders))}.items():
        database = PostgresDatabase(running.system.database(BY_NAME[service]).url)
        stored = (event for life in lives for event in life)
        try:
            while chunk := list(islice(stored, _ROWS)):
                async with database.transaction() as transaction:
                    await transaction.events.append(chunk, [])
                count += len(chunk)
        finally:
            await database.close()
    return count


def _order(number: int) -> Iterator[StoredEvent]:
    order = OrderId(_id_of(number))
    created = OrderCreated(
        order_id=order,
        consumer_id=ConsumerId(new_id()),
        restaurant_id=RestaurantId(new_id()),
        restaurant_name="Ajanta",
        line_items=(LineItem(menu_item_id=_DISH.id, name=_DISH.name, price=_DISH.price, quantity=2),),
        order_total=Money(2 * _DISH.price),
        deliver_at=utc_now() + timedelta(hours=1),
        deliver_to=_ADDRESS,
    )
    return _stored("Order", order, created, OrderApproved(order_id=order, ticket_id=TicketId(new_id())))


def _delivery(number: int) -> Iterator[StoredEvent]:
    order, courier = OrderId(_id_of(number)), CourierId(new_id())
    return _stored(
        "Delivery",
        order,
        DeliveryScheduled(order_id=order, courier_id=courier, ready_by=utc_now()),
        DeliveryPickedUp(order_id=order, courier_id=courier),
        DeliveryDelivered(order_id=order, courier_id=courier),
    )


def _stored(aggregate: str, id_: OrderId, *events: Event) -> Iterator[StoredEvent]:
    for version, event in enumerate(events, 1):
        metadata = Metadata(id=new_id(), schema=event.schema, correlation_id=new_id(), causation_id=new_id())
        yield StoredEvent(
            aggregate=aggregate,
            id=id_,
            version=version,
            type=event.type_name,
            data=to_json(event),
            metadata=metadata,
            occurred_at=utc_now(),
        )


def _id_of(number: int) -> str:
    return f"0197f3a0-0000-7000-8000-{number:012}"


async def rebuild(running: Running, events: int) -> Rebuilt:
    """Rebuild the read model from stored events. LaunchError when that fails."""
    program = running.system.rebuild_program(BY_NAME[READ_MODEL])
    before, own_before, begun = running.cpu(), _cpu_of_children(), _clock()
    process = await asyncio.create_subprocess_exec(
        *program.argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, **program.options()
    )
    said, _ = await process.communicate()
    seconds, after, own = _clock() - begun, running.cpu(), _cpu_of_children()
    if process.returncode != 0:
        raise LaunchError(f"the rebuild has failed: {said.decode(errors='replace')}")
    used = {"rebuild": own - own_before} | {part: after[part] - before[part] for part in before}
    return Rebuilt(
        events=events,
        seconds=round(seconds, 2),
        a_second=round(events / seconds),
        cpu={part: round(1e6 * each / events, 1) for part, each in used.items()},
    )


def _cpu_of_children() -> float:
    """The CPU time of child processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
