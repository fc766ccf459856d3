"""The replication slots, which store how far the relays have read, are lost."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

import asyncpg

from kernel.topology import BY_NAME, FTGO
from tools.chaos.fault import Fault
from tools.chaos.world import PUBLISHING, World
from tools.system.system import RELAY, Arrangement, System

_SEGMENT = 16
_MEGABYTES_KEPT = 48
_MEGABYTES_WRITTEN = 256
_CHECKPOINT_MEGABYTES = 64
_MAX_MEGABYTES = _MEGABYTES_KEPT + _CHECKPOINT_MEGABYTES + 3 * _SEGMENT
"""The largest size that PostgreSQL's log may reach: what it keeps for slots, what is written until the next checkpoint,
and segments that are partly filled."""
_UNPUBLISHED = 10
_MADE_AGAIN = "replication slot was missing or lost: made again"


def slot_of(service: str) -> str:
    """The name of the replication slot of a service's relay."""
    return FTGO.slot(BY_NAME[service].database)


async def drop_slot(world: World, service: str) -> None:
    """Drop the slot, even while a relay streams from it."""
    async with world.admin(BY_NAME[service].database) as database:

        async def is_dropped() -> bool:
            await database.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1",
                slot_of(service),
            )
            try:
                await database.execute("select pg_drop_replication_slot($1)", slot_of(service))
            except asyncpg.ObjectInUseError:
                return False
            return True

        await world.until(is_dropped, f"the slot of {service} is in use")


@dataclass(frozen=True)
class _Loss:
    """How slots are lost: invalidated by a log that has grown too large, or else dropped."""

    invalidated: bool
    relay_down: bool

    def __str__(self) -> str:
        how = "invalidated by max_slot_wal_keep_size" if self.invalidated else "dropped"
        stands = ("stood still" if self.invalidated else "published") if not self.relay_down else "was down"
        return f"{how} while the relay {stands}"


class SlotLoss(Fault):
    """Slots are dropped, or their log is removed."""

    name = "slot-loss"
    summary = "replication slots are dropped, or invalidated by max_slot_wal_keep_size; the log's size is watched"
    times = 3
    keep_size: ClassVar[str] = f"{_MEGABYTES_KEPT}MB"
    notices: ClassVar[bool] = True
    """Whether the relay can notice the loss."""

    def __init__(self) -> None:
        self._deck: list[_Loss] = []
        self.max_megabytes = 0.0

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Have PostgreSQL keep little of its log."""
        settings = {
            "max_slot_wal_keep_size": self.keep_size,
            "max_wal_size": f"{_CHECKPOINT_MEGABYTES}MB",
            "min_wal_size": f"{2 * _SEGMENT}MB",
        }
        return replace(system.arrangement, postgres_settings=settings)

    async def inject(self, world: World, random: Random) -> str:
        """Lose one slot, or all, and wait until each has been made again and the relay has said so."""
        if not self._deck:
            self._deck = random.sample(losses := self.losses(random), len(losses))
        loss = self._deck.pop()
        # The server has one log: when it has grown too large, all slots are invalidated.
        services = PUBLISHING if loss.invalidated or random.random() < 0.5 else ["order"]
        said = world.log_end(RELAY)
        before = [0.0 if loss.relay_down else await self._made_again(world, service) for service in services]
        if loss.relay_down:
            await world.take_down(RELAY)
            await self._something_is_written(world)
        elif loss.invalidated:
            world.pause(RELAY)
        try:
            if loss.invalidated:
                await self._outgrow(world, services)
            else:
                for service in services:
                    await drop_slot(world, service)
            await self.lose_too(world, services)
        finally:
            if loss.relay_down:
                await world.bring_up(RELAY)
                await world.ready(RELAY)
            elif loss.invalidated:
                world.resume(RELAY)
        for service, times in zip(services, before, strict=True) if self.notices else ():
            await self._noticed(world, service, times, said)
        size = f", with a log of {self.max_megabytes:g} MB at most" if loss.invalidated else ""
        return f"{'all slots' if services == PUBLISHING else 'one slot'} {loss}{size}"

    def losses(self, random: Random) -> list[_Loss]:
        """What is lost in one round."""
        return [
            _Loss(invalidated=False, relay_down=False),
            _Loss(invalidated=False, relay_down=True),
            _Loss(invalidated=True, relay_down=random.random() < 0.5),
        ]

    async def lose_too(self, world: World, services: Sequence[str]) -> None:
        """A hook for the control, which does more. Does nothing here."""

    async def _something_is_written(self, world: World) -> None:
        """Wait until orders have been placed that no relay has published."""
        async with world.admin(BY_NAME["order"].database) as database:
            newest = "select max(id) from outbox"
            end = await database.fetchval(newest)

            async def is_written() -> bool:
                return bool(await database.fetchval(newest) >= end + _UNPUBLISHED)

            await world.until(is_written, "nobody places orders")

    async def _outgrow(self, world: World, services: Sequence[str]) -> None:
        """Write much more than PostgreSQL may keep, and see what it keeps."""
        async with world.admin() as database:

            async def released() -> bool:
                held = "select exists (select from pg_replication_slots where active and slot_name = any($1))"
                return not await database.fetchval(held, [slot_of(service) for service in services])

            await world.until(released, "PostgreSQL waits for relays that stand still")
            for megabyte in range(_MEGABYTES_WRITTEN):
                await database.execute("select pg_logical_emit_message(false, 'chaos', repeat('x', 1 << 20))")
                if megabyte % _SEGMENT == 0:
                    await database.execute("checkpoint")
                    size = float(await database.fetchval("select sum(size) from pg_ls_waldir()")) / (1 << 20)
                    self.max_megabytes = max(self.max_megabytes, size)
            lost = "select count(*) from pg_replication_slots where wal_status = 'lost' and slot_name = any($1)"
            all_lost = await database.fetchval(lost, [slot_of(service) for service in services]) == len(services)
            if self.notices and not all_lost:
                world.found("the slots are not lost: nothing was tried")
        if self.max_megabytes > _MAX_MEGABYTES:
            world.found(f"the log has grown to {self.max_megabytes:g} MB, more than {_MAX_MEGABYTES}")

    async def _noticed(self, world: World, service: str, times: float, said: int) -> None:
        """Wait until the relay has counted the loss, and check that it has logged it."""
        database = BY_NAME[service].database

        async def counted() -> bool:
            return await self._made_again(world, service) > times

        await world.until(counted, f"the relay of {service} does not count that it has made its slot again")
        lines = world.log(RELAY, said).splitlines()
        if not any(_MADE_AGAIN in line and f'"{database}"' in line for line in lines):
            world.found(f"the relay of {service} does not say that it has made its slot again")

    async def _made_again(self, world: World, service: str) -> float:
        counted = await world.metric(RELAY, "relay_slot_rebuilt_total", database=BY_NAME[service].database)
        return counted or 0.0


class SlotLossUnnoticed(SlotLoss):
    """The control: the relay can't notice a slot that was created by hand, after a gap."""

    name = "slot-loss-unnoticed"
    summary = "slots are dropped and made by hand, so that they begin too late"
    times = 1
    control = True
    notices: ClassVar[bool] = False

    def losses(self, random: Random) -> list[_Loss]:
        """Only a loss while the relay is down and orders go on coming."""
        return [_Loss(invalidated=False, relay_down=True)]

    async def lose_too(self, world: World, services: Sequence[str]) -> None:
        """Create the slot so that it begins after rows that were never published."""
        for service in services:
            async with world.admin(BY_NAME[service].database) as database:
                await database.execute("select pg_create_logical_replication_slot($1, 'pgoutput')", slot_of(service))


class SlotLossWithoutLimit(SlotLoss):
    """The control: without a limit, the log grows for as long as the relay is down."""

    name = "slot-loss-without-limit"
    summary = "the log grows while max_slot_wal_keep_size sets no limit"
    times = 1
    control = True
    keep_size: ClassVar[str] = "-1"
    notices: ClassVar[bool] = False

    def losses(self, random: Random) -> list[_Loss]:
        """Only the log that is kept for a relay that is down."""
        return [_Loss(invalidated=True, relay_down=True)]
