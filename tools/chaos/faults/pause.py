"""Processes are paused for longer than their lease, and then go on as if nothing had happened."""

import signal
from collections.abc import Awaitable, Callable
from random import Random

from tools.chaos import crash_points
from tools.chaos.fault import Fault
from tools.chaos.world import PUBLISHING, READING, TooLate, World
from tools.system.system import RELAY

_ARMED_SECONDS = 3.0
_TAKES_OVER_SECONDS = 20.0
"""Longer than a lease, and longer than PostgreSQL waits for a relay."""


class Pause(Fault):
    """Sends SIGSTOP to a process that holds a lease, and SIGCONT when another has taken over."""

    name = "pause"
    summary = "SIGSTOP of who reads a partition or publishes, also in a transaction; SIGCONT after another took over"
    times = 4
    replicas = 2

    def __init__(self) -> None:
        self._deck: list[str] = []

    async def inject(self, world: World, random: Random) -> str:
        """Pause a relay, or the replica of a service that holds its partition."""
        if not self._deck:
            self._deck = random.sample([RELAY, "between transactions", *2 * ["in a transaction"]], 4)
        card = self._deck.pop()
        if card == RELAY:
            return await self._relay(world, random)
        return await self._service(world, random, in_transaction=card == "in a transaction")

    async def _service(self, world: World, random: Random, *, in_transaction: bool) -> str:
        service = random.choice(READING)
        victim = await self._taken(world, lambda: world.holder(service), f"the partition of {service}")
        said = world.log_end(victim)
        stopped = in_transaction and await self._stops_in_transaction(world, victim)
        if not stopped:
            world.pause(victim)
        try:
            successor = await self._taken(world, lambda: world.holder(service), f"the partition of {victim}", victim)
        finally:
            world.resume(victim)
        await self._notices(world, victim, said, "subscription interrupted")
        return f"{victim} stood still{' in a transaction' if stopped else ''}, {successor} took over"

    async def _relay(self, world: World, random: Random) -> str:
        service = random.choice(PUBLISHING)
        victim = await self._taken(world, lambda: world.publisher(service), f"the outbox of {service}")
        said = world.log_end(victim)
        world.pause(victim)
        try:
            successor = await self._taken(world, lambda: world.publisher(service), f"the outboxes of {victim}", victim)
        finally:
            world.resume(victim)
        await self._notices(world, victim, said, "relay waits", "relay stands by")
        return f"{victim} stood still, {successor} took over"

    async def _stops_in_transaction(self, world: World, victim: str) -> bool:
        """Have a part stop itself between a write and its commit. Returns whether it did so soon enough."""
        world.arm(victim, crash_points.WRITING, signal.SIGSTOP)

        async def stands_still() -> bool:
            return world.stands_still(victim)

        try:
            await world.until(stands_still, f"{victim} had no transaction", _ARMED_SECONDS)
        except TooLate:
            return not world.disarm(victim)
        return True

    async def _taken(
        self, world: World, holder: Callable[[], Awaitable[str | None]], what: str, before: str | None = None
    ) -> str:
        """Wait until a part other than `before` is the holder, and return that part."""
        found: list[str] = []

        async def is_held() -> bool:
            who = await holder()
            if who is not None and who != before:
                found.append(who)
            return bool(found)

        await world.until(is_held, f"nobody has taken {what}", _TAKES_OVER_SECONDS)
        return found[0]

    async def _notices(self, world: World, victim: str, said: int, *words: str) -> None:
        async def has_noticed() -> bool:
            return any(word in world.log(victim, said) for word in words)

        await world.until(has_noticed, f"{victim} goes on as if nothing had happened", _TAKES_OVER_SECONDS)
