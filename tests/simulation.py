"""A simulated town: customers, kitchens and couriers do what occurs to them, in any order, while things go wrong.

Everything is drawn from one seed: who does what when, in which order messages travel, what crashes, and every id.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any
from unittest.mock import patch
from uuid import UUID

import uuid_utils

from accounting.application.commands import DisableAccount, EnableAccount
from consumer.application.commands import RegisterConsumer, RenameConsumer
from delivery.application.commands import DeliverOrder, SetCourierAvailability
from kernel.topology import BY_NAME
from kernel.values import Address, ConsumerId, CourierId, MenuItem, MenuItemId, Money, OrderId, RestaurantId, TicketId
from kitchen.application.commands import AcceptTicket, FinishPreparation, PickUpTicket, StartPreparation
from kitchen.application.views import TicketView
from order.application.commands import CancelOrder, CreateOrder, ReviseOrder
from restaurant.application.commands import CreateRestaurant, ReviseMenu
from shared.core.context import Cause, handling
from shared.core.errors import DomainError, IdempotencyKeyReused
from shared.core.ids import new_id
from shared.core.messages import Command
from shared.testing.adversity import Adversity
from shared.testing.system import MemorySystem, VirtualClock
from shared.unit_of_work.idempotency import IdempotencyKey, under
from tools.verify.facts import Finding, facts_of
from tools.verify.invariants import unrest, verify
from tools.verify.memory import MemorySystemState

HOME = Address(street1="9 Elm Street", city="Oakland", state="CA", zip="94611")
MENU = tuple(
    MenuItem(id=MenuItemId(name), name=name.title(), price=Money(price))
    for name, price in (("curry", 1195), ("naan", 350), ("tea", 0))
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REST = timedelta(hours=3)
"""Longer than anything waits by itself before it is tried again."""
_MAX_PATIENT = timedelta(seconds=40)
_AWAY = ("accounting", "consumer", "delivery", "kitchen", "order", "order_history")

Deed = Callable[[], Awaitable[object]]


class Simulation:
    """One town, from its founding until it has come to rest."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        adversity = Adversity(
            duplicates=self._heads(),
            reorder=self._heads(),
            delay=self._heads(),
            crash=self._heads(),
            seed=seed,
        )
        self.system = MemorySystem(BY_NAME, clock=VirtualClock(NOON), adversity=adversity)
        self._consumers: list[ConsumerId] = []
        self._restaurants: list[RestaurantId] = []
        self._couriers = [CourierId(new_id()) for _ in range(self._random.randint(1, 3))]
        self.orders: list[OrderId] = []
        self._placed_by: dict[str, tuple[CreateOrder, OrderId]] = {}
        self.wrong: list[str] = []

    @property
    def state(self) -> MemorySystemState:
        """As the invariants see it."""
        databases = {name: service.database for name, service in self.system.services.items()}
        return MemorySystemState(databases, self.system.broker)

    async def run(self, deeds: int) -> None:
        """People do that many things, and then the system comes to rest."""
        for _ in range(self._random.randint(1, 2)):
            await self._open_restaurant()
        await self._register()
        # A delivery waits for its restaurant a few seconds only, and time flies here.
        await self.system.settle(_MAX_PATIENT)
        choices = self._deeds()
        for _ in range(deeds):
            at_once = self._random.choice((1, 1, 1, 2, 4))
            chosen = self._random.choices(list(choices), list(choices.values()), k=at_once)
            await asyncio.gather(*(deed() for deed in chosen))
            self.system.clock.advance(timedelta(milliseconds=self._random.choice((1, 1, 20, 700))))
            for _ in range(self._random.choice((0, 0, 1, 2, 8))):
                await self.system.step()
        self.system.away.clear()
        await self.system.settle(REST)

    async def findings(self) -> list[Finding]:
        """What does not hold now."""
        findings = await verify(self.state)
        if restless := await unrest(self.state):
            self.wrong.append(f"it does not come to rest: {restless}")
        orders = (await facts_of(self.state)).orders.keys()
        if orders != set(self.orders):
            self.wrong.append(f"{len(self.orders)} orders were placed, {len(orders)} are there")
        return findings + [Finding("simulation", text) for text in self.wrong]

    def _deeds(self) -> dict[Deed, int]:
        return {
            self._place_order: 8,
            self._place_again: 2,
            self._cancel: 3,
            self._revise: 4,
            self._work_on_ticket: 12,
            self._courier_changes: 3,
            self._deliver: 4,
            self._register: 1,
            self._rename: 1,
            self._switch_account: 2,
            self._revise_menu: 1,
            self._service_goes_or_comes: 3,
            self._time_flies: 1,
        }

    async def _open_restaurant(self) -> None:
        answer = await self._do("restaurant", CreateRestaurant(name="Ajanta", address=HOME, menu=MENU))
        self._restaurants.append(answer.id)

    async def _register(self) -> None:
        if answer := await self._do("consumer", RegisterConsumer(name="Ada")):
            self._consumers.append(answer.id)

    async def _rename(self) -> None:
        name = self._random.choice(("Grace", "Edsger"))
        await self._do("consumer", RenameConsumer(consumer_id=self._random.choice(self._consumers), name=name))

    async def _place_order(self) -> None:
        quantities = {item.id: self._random.randint(1, 3) for item in MENU if self._heads()}
        command = CreateOrder(
            consumer_id=self._random.choice(self._consumers) if self._random.random() < 0.95 else ConsumerId(new_id()),
            restaurant_id=self._random.choice(self._restaurants),
            quantities=quantities,
            deliver_at=self.system.clock() + timedelta(hours=1),
            deliver_to=HOME,
        )
        key = self._key() if self._heads() else None
        if answer := await self._do("order", command, key):
            self.orders.append(answer.id)
            if key is not None:
                self._placed_by[key.key] = command, answer.id

    async def _place_again(self) -> None:
        """A client that sends a request twice gets the first answer twice."""
        if not self._placed_by:
            return
        key = self._random.choice(sorted(self._placed_by))
        command, order = self._placed_by[key]
        answer = await self._do("order", command, self._key(key))
        if answer is not None and answer.id != order:
            self.wrong.append(f"the key {key} has made {order} and {answer.id}")

    async def _cancel(self) -> None:
        if self.orders:
            id_ = self._an_order()
            key = self._key(request=f"PUT /api/orders/{id_}/cancel") if self._heads() else None
            await self._do("order", CancelOrder(order_id=id_), key)

    async def _revise(self) -> None:
        if self.orders:
            quantities = {item.id: self._random.randint(0, 4) for item in MENU if self._heads()}
            await self._do("order", ReviseOrder(order_id=self._an_order(), revised_quantities=quantities))

    async def _work_on_ticket(self) -> None:
        tickets = sorted(self.system.services["kitchen"].database.tables[TicketView])
        if not tickets:
            return
        ticket = TicketId(self._random.choice(tickets[-6:]))
        ready_by = self.system.clock() + timedelta(minutes=self._random.choice((-1, 20, 20, 20)))
        commands: list[Command[Any]] = [
            AcceptTicket(ticket_id=ticket, ready_by=ready_by),
            StartPreparation(ticket_id=ticket),
            FinishPreparation(ticket_id=ticket),
            PickUpTicket(ticket_id=ticket),
        ]
        for command in commands if self._heads() else [self._random.choice(commands)]:
            await self._do("kitchen", command)

    async def _courier_changes(self) -> None:
        command = SetCourierAvailability(courier_id=self._random.choice(self._couriers), available=self._heads())
        await self._do("delivery", command)

    async def _deliver(self) -> None:
        if self.orders:
            await self._do("delivery", DeliverOrder(order_id=self._an_order()))

    async def _switch_account(self) -> None:
        id_ = self._random.choice(self._consumers)
        command = DisableAccount(consumer_id=id_) if self._random.random() < 0.3 else EnableAccount(consumer_id=id_)
        await self._do("accounting", command)

    async def _revise_menu(self) -> None:
        menu = MENU[: self._random.randint(1, len(MENU))]
        command = ReviseMenu(restaurant_id=self._random.choice(self._restaurants), menu=menu)
        await self._do("restaurant", command)

    async def _service_goes_or_comes(self) -> None:
        """Mostly everybody is there: nothing happens where nobody is."""
        away = self.system.away
        if away and self._random.random() < 0.8:
            away.remove(self._random.choice(sorted(away)))
        else:
            away.add(self._random.choice(_AWAY))

    async def _time_flies(self) -> None:
        self.system.clock.advance(timedelta(seconds=self._random.choice((3, 31, 70))))

    async def _do(self, service: str, command: Command[Any], key: IdempotencyKey | None = None) -> Any:
        """The answer; None when it is refused, or its service is away."""
        if service in self.system.away:
            return None
        id_ = new_id()
        with handling(Cause(correlation_id=id_, id=id_, causation_id=id_)):
            try:
                with under(key):
                    return await self.system.services[service].container.commands().execute(command)
            except IdempotencyKeyReused:
                self.wrong.append(f"{command} was refused, and was the same as before")
            except DomainError:
                pass
        return None

    def _key(self, key: str | None = None, request: str = "POST /api/orders") -> IdempotencyKey:
        return IdempotencyKey(request=request, key=key or new_id(), body_hash="the same")

    def _an_order(self) -> OrderId:
        return self._random.choice(self.orders[-6:])

    def _heads(self) -> bool:
        return self._random.random() < 0.5


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Ids and pauses are drawn from the seed as well. Ids still sort by the time they were made."""
    numbers = count(1)
    draw = Random(seed)

    def uuid7() -> UUID:
        return UUID(int=next(numbers) << 80 | 7 << 76 | 2 << 62 | draw.getrandbits(62))

    before = random.getstate()
    random.seed(seed)
    try:
        with patch.object(uuid_utils, "uuid7", uuid7):
            yield
    finally:
        random.setstate(before)


async def simulate(seed: int, deeds: int) -> tuple[list[Finding], list[str]]:
    """What does not hold at the end of it, and what was published on the way: the same for the same seed."""
    with drawn_from(seed):
        simulation = Simulation(seed)
        async with simulation.system:
            await simulation.run(deeds)
            findings = await simulation.findings()
            published = [f"{sent.message_id} {sent.route}" async for sent in simulation.state.stream()]
    return findings, published
