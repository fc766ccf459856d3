"""Another client holds all of PostgreSQL's connections."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random
from uuid import uuid4

import asyncpg

from kernel.topology import FTGO, SERVICES
from shared.core.service_info import ServiceInfo
from shared.host.settings import PoolSettings
from tools.chaos.fault import Fault
from tools.chaos.world import World
from tools.system.connections import FOR_PEOPLE, needed
from tools.system.system import Arrangement, System

_CONCURRENCY = 8
_THEIRS = "from pg_stat_activity where usename = any($1) and backend_type = 'client backend'"
_SHOWN = {
    "accounting": "accounts",
    "consumer": "consumers",
    "delivery": "deliveries",
    "kitchen": "tickets",
    "order": "orders",
    "order_history": "orders",
    "restaurant": "restaurants",
}
"""What clients can read, by service."""


class OutOfConnections(Fault):
    """Opens as many connections as `max_connections` allows, and ends those of the services, which get no new ones."""

    name = "out-of-connections"
    summary = "all of PostgreSQL's connections are taken, those of one service and its relay, or of all, are ended"
    times = 3

    def __init__(self) -> None:
        self._deck: list[Sequence[ServiceInfo]] = []

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Keep the number of allowed connections as low as possible."""
        most = needed({}, 1, PoolSettings(application=FTGO, partitions=1)).sessions + FOR_PEOPLE
        return replace(system.arrangement, postgres_settings={"max_connections": most})

    async def inject(self, world: World, random: Random) -> str:
        """Take all connections, check that clients are told to retry later, and release the connections."""
        if not self._deck:
            self._deck = random.sample([SERVICES, *([each] for each in random.sample(SERVICES, 2))], 3)
        victims = self._deck.pop()
        async with AsyncExitStack() as taken:
            await _take_all(world, taken, [role for each in victims for role in (each.service_role, each.relay_role)])
            for victim in victims:
                await world.until_refused(victim.name, "GET", f"/api/{_SHOWN[victim.name]}/{uuid4()}")
            await asyncio.sleep(random.uniform(0.5, 3.0))
        return f"no connections for {'any service' if victims is SERVICES else victims[0].name}"


async def _take_all(world: World, taken: AsyncExitStack, roles: Sequence[str]) -> None:
    """Take all connections, faster than the services can open new ones."""
    admin = await taken.enter_async_context(world.admin())
    full = asyncpg.TooManyConnectionsError

    async def take() -> None:
        await taken.enter_async_context(world.admin())

    async def are_taken() -> bool:
        await admin.execute(f"select pg_terminate_backend(pid) {_THEIRS}", roles)
        while full not in map(
            type, await asyncio.gather(*(take() for _ in range(_CONCURRENCY)), return_exceptions=True)
        ):
            pass
        return not await admin.fetchval(f"select count(*) {_THEIRS}", roles)

    await world.until(are_taken, "the services find connections")
