"""The broker forgets what it has acknowledged: its store is deleted, or set back to an earlier state."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from kernel.topology import BY_NAME
from shared.adapters.nats.stream import stream_bounds
from tools.chaos.fault import Fault
from tools.chaos.faults.slot_loss import drop_slot
from tools.chaos.proxy import Proxy, Trouble, proxy
from tools.chaos.world import PUBLISHING, World
from tools.system.system import RELAY, Arrangement, System

_UNREAD = 20
"""The least number of messages that a service has not read when they are lost."""
_FILLED = BY_NAME["accounting"]
_ROWS = 3000
_BYTES_PER_SECOND = 300_000
"""How fast a relay can publish when it is to be slow: `_ROWS` rows of 1 kB take about ten seconds."""
_WAL_SENDER_TIMEOUT = 6.0


@dataclass(frozen=True)
class Loss:
    """What is lost, and what else is wrong at that time."""

    set_back: bool
    relay_down: bool = False
    slots: bool = False
    slowly: bool = False

    def __str__(self) -> str:
        return "".join(
            (
                "the broker's store was " + ("set back" if self.set_back else "deleted"),
                ", while the relay was down" * self.relay_down,
                ", together with all slots" * self.slots,
                f", and was filled again for longer than {_WAL_SENDER_TIMEOUT:g} s" * self.slowly,
            )
        )


class BrokerLoss(Fault):
    """nats-server's store is deleted, or set back, while a service has not read all of it."""

    name = "broker-loss"
    summary = (
        "NATS' store is deleted or set back: also without the relay, with the slots, and with much to fill it with"
    )
    times = 4
    settings: ClassVar[Mapping[str, str]] = {"FTGO_WAL_SENDER_TIMEOUT_SECONDS": f"{_WAL_SENDER_TIMEOUT:g}"}
    away: ClassVar[Sequence[str]] = ("consumer", "kitchen", "accounting", "delivery", "order_history")
    """The services that may be down and miss messages; new orders do not need them."""

    def __init__(self) -> None:
        self.deck: list[Loss] = []
        self._between: Proxy

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Put a proxy between the relay and NATS, which can make the relay slow."""
        self._between = await stack.enter_async_context(proxy(system.nats.port))
        return replace(system.arrangement, nats_ports={RELAY: self._between.port})

    async def _fill(self, world: World) -> None:
        """Publish messages that no service reads, so that there is much to publish again."""
        end = await self._end(world)
        async with world.admin(_FILLED.database) as database:
            await database.execute(
                "insert into outbox (subject, key, headers, data)"
                " select 'event.accounting.AccountRenamed', n, json_build_object('ce-id', gen_random_uuid(),"
                " 'ce-kind', 'event', 'ce-type', 'accounting.AccountRenamed'), json_build_object('filled', $1::text)"
                " from generate_series(1, $2) n",
                "x" * 900,
                _ROWS,
            )
        await self._grows(world, end, _ROWS)

    def losses(self, random: Random) -> list[Loss]:
        """What is lost in one round."""
        either = (True, False)
        return [
            Loss(set_back=False),
            Loss(set_back=True, relay_down=True),
            Loss(set_back=random.choice(either), relay_down=random.choice(either), slots=True),
            Loss(set_back=False, slowly=True),
        ]

    async def inject(self, world: World, random: Random) -> str:
        """Take a service down while messages come in, and lose those messages."""
        if not self.deck:
            self.deck = random.sample(losses := self.losses(random), len(losses))
        loss, away = self.deck.pop(), random.choice(self.away)
        store, copy = world.nats_folder, world.nats_folder.with_name("store.copy")
        times = await self._times_lost(world)
        if loss.slowly:
            await self._fill(world)
        if loss.set_back:
            await world.take_down("nats")
            shutil.copytree(store, copy)
            await world.bring_up("nats")
            await world.ready("nats", RELAY)
        await world.take_down(away)
        await self.before_it_is_written(world)
        await self._grows(world, await self._end(world), _UNREAD)
        await self._is_confirmed(world)
        if loss.relay_down:
            await world.take_down(RELAY)
        await world.take_down("nats")
        shutil.rmtree(store)
        if loss.set_back:
            copy.rename(store)
        await self.lose_too(world)
        for service in PUBLISHING if loss.slots else ():
            await drop_slot(world, service)
        if loss.slowly:
            await self._between.begin(Trouble(bytes_per_second=_BYTES_PER_SECOND))
        await world.bring_up("nats")
        if loss.relay_down:
            await world.bring_up(RELAY)
        if loss.slowly:
            await self._publishes_slowly(world, times)
        await world.bring_up(away)
        await world.ready(RELAY, away)
        return f"{loss}; {away} had not read it"

    async def before_it_is_written(self, world: World) -> None:
        """A hook for faults that build on this one: what is written from here on will be lost."""

    async def lose_too(self, world: World) -> None:
        """A hook for the control, which loses more. Does nothing here."""

    async def _publishes_slowly(self, world: World, times: float) -> None:
        """Check that the relay keeps its connection to PostgreSQL alive while it publishes from the outbox."""

        async def has_begun() -> bool:
            return await self._times_lost(world) > times

        await world.until(has_begun, "the relay has not noticed that the broker has lost messages")
        said, began = world.log_end("postgres"), time.monotonic()
        await world.ready(RELAY)
        await self._between.end()
        if time.monotonic() - began < _WAL_SENDER_TIMEOUT:
            world.found("publishing again was not slow: nothing was tried")
        if "replication timeout" in world.log("postgres", said):
            world.found("PostgreSQL has given up a relay that was publishing again")

    async def _times_lost(self, world: World) -> float:
        lost = await world.metric(RELAY, "relay_broker_tail_lost_total", database=_FILLED.database)
        return lost or 0.0

    async def _is_confirmed(self, world: World) -> None:
        """Wait until no replication slot would send again what has been published."""
        async with world.admin(BY_NAME["order"].database) as database:
            newest = await database.fetchval("select max(id) from outbox")

            async def is_covered() -> bool:
                return bool(await database.fetchval("select max(row_id) >= $1 from relay_checkpoints", newest))

            await world.until(is_covered, "the relay writes no checkpoints")

    async def _grows(self, world: World, end: int, by: int) -> None:
        """Wait until the stream has grown by that many messages."""

        async def has_grown() -> bool:
            return await self._end(world) >= end + by

        await world.until(has_grown, f"no {by} messages were published")

    async def _end(self, world: World) -> int:
        async with world.nats() as connection:
            return (await stream_bounds(connection)).last


class BrokerLossWithoutOutboxes(BrokerLoss):
    """The control: rows of the outboxes are lost too. The relay keeps a row for at least twice the longest
    transaction, whatever the retention is, so this deletes them instead."""

    name = "broker-loss-without-outboxes"
    summary = "the same when the outboxes keep nothing of what has been published"
    times = 1
    control = True
    away: ClassVar[Sequence[str]] = ("order_history",)  # no sender publishes again what it has missed

    def losses(self, random: Random) -> list[Loss]:
        """Only the loss that the outboxes protect against."""
        return [Loss(set_back=False)]

    async def lose_too(self, world: World) -> None:
        """Delete what a retention of zero would have deleted."""
        for service in PUBLISHING:
            async with world.admin(BY_NAME[service].database) as database:
                await database.execute("delete from outbox")
