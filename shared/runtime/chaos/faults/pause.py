"""Processes stand still for longer than their lease, and go on as if nothing had happened."""

import signal
from random import Random

from shared.runtime.chaos import crash_points
from shared.runtime.chaos.fault import Fault
from shared.runtime.chaos.world import PUBLISHING, TooLate, World
from shared.runtime.system import RELAY
from shared.runtime.topology import SERVICES

_ARMED_SECONDS = 3.0
_TAKES_OVER_SECONDS = 20.0
"""Longer than a lease, and than PostgreSQL waits for a relay."""
_READING = tuple(service.name for service in SERVICES if service.name != "restaurant")


class Pause(Fault):
    """SIGSTOP to whoever has something to lose; SIGCONT when another has taken over."""

    name = "pause"
    summary = "SIGSTOP of who reads a partition or publishes, also in a transaction; SIGCONT after another took over"
    times = 4
    replicas = 2

    def __init__(self) -> None:
        self._deck: list[str] = []

    async def inject(self, world: World, random: Random) -> str:
        """A relay, or the replica of a service that holds its partition."""
        if not self._deck:
            self._deck = random.sample([RELAY, "between transactions", *2 * ["in a transaction"]], 4)
        card = self._deck.pop()
        if card == RELAY:
            return await self._relay(world, random)
        return await self._service(world, random, in_transaction=card == "in a transaction")

    async def _service(self, world: World, random: Random, *, in_transaction: bool) -> str:
        service = random.choice(_READING)
        victim = await self._holder(world, service)
        said = world.log_end(victim)
        how = ""
        if in_transaction:
            how = await self._stop_in_transaction(world, victim)
        else:
            world.pause(victim)
        try:
            successor = await self._holder(world, service, other_than=victim)
        finally:
            world.resume(victim)

        async def has_noticed() -> bool:
            return "subscription interrupted" in world.log(victim, said)

        await world.until(has_noticed, f"{victim} goes on as if it still had the partition", _TAKES_OVER_SECONDS)
        if await world.holder(service) == victim:
            world.found(f"{victim} has the partition back from {successor}, who runs")
        return f"{victim} stood still{how}, {successor} took over"

    async def _stop_in_transaction(self, world: World, victim: str) -> str:
        """Have it stop itself after it has written and before it commits."""
        world.arm(victim, crash_points.WRITING, signal.SIGSTOP)

        async def stands_still() -> bool:
            return world.stands_still(victim)

        try:
            await world.until(stands_still, f"{victim} had no transaction", _ARMED_SECONDS)
        except TooLate:
            if world.disarm(victim):
                world.pause(victim)
                return ""
        return " in a transaction"

    async def _holder(self, world: World, service: str, other_than: str | None = None) -> str:
        """Who holds the partition, as soon as somebody (else) does."""
        found: list[str] = []

        async def is_held() -> bool:
            found[:] = [part for part in [await world.holder(service)] if part not in (None, other_than)]
            return bool(found)

        await world.until(is_held, f"nobody took over from {other_than or service}", _TAKES_OVER_SECONDS)
        return found[0]

    async def _relay(self, world: World, random: Random) -> str:
        service = random.choice(PUBLISHING)
        found: list[str] = []

        async def is_held_by_another(than: str | None = None) -> bool:
            found[:] = [part for part in [await world.publisher(service)] if part not in (None, than)]
            return bool(found)

        await world.until(is_held_by_another, f"no relay publishes for {service}", _TAKES_OVER_SECONDS)
        victim = found[0]
        world.pause(victim)
        try:
            await world.until(
                lambda: is_held_by_another(victim), f"no relay took over from {victim}", _TAKES_OVER_SECONDS
            )
        finally:
            world.resume(victim)
        return f"{victim} stood still, {found[0]} took over"
