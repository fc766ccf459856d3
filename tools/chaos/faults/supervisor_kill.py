"""The supervisor ends without warning, and is started again."""

import asyncio
from random import Random

from tools.chaos.fault import Fault
from tools.chaos.world import World
from tools.system.process import still_alive

_ALONE, _WITH_OTHERS, _STARTING = "killed", "killed with others", "killed twice, while it started as well"
_DECK = (_ALONE, _WITH_OTHERS, _STARTING)
_LONGEST_START = 4.0
"""Seconds within which the supervisor is killed again, during its start."""
_END_SECONDS = 30.0
"""How long the processes of a killed supervisor may take to end: PostgreSQL shuts down in an orderly way."""


class SupervisorKill(Fault):
    """Kills `./ftgo up` with `kill -9`. All its processes end with it, and the next one starts on the same data."""

    name = "supervisor-kill"
    summary = "kill -9 of ./ftgo up, with others or while it starts: nothing outlives it, and the next one starts"
    times = len(_DECK)
    outside = True

    def __init__(self) -> None:
        self._deck: list[str] = []

    async def inject(self, world: World, random: Random) -> str:
        """Kill the supervisor in the next of the shuffled ways, and start it again."""
        if not self._deck:
            self._deck = random.sample(_DECK, len(_DECK))
        card = self._deck.pop()
        if card == _WITH_OTHERS:
            others = sorted(world.outside.processes(), key=lambda process: process.pid)
            for other in random.sample(others, min(2, len(others))):
                world.kill_process(other.pid)
        await self._kill(world)
        if card == _STARTING:
            await world.outside.start()
            await asyncio.sleep(random.uniform(0.0, _LONGEST_START))
            await self._kill(world)
        await world.outside.start()
        await world.ready()
        return f"the supervisor {card}"

    async def _kill(self, world: World) -> None:
        processes = world.outside.processes()
        await world.outside.kill()
        for process in await asyncio.to_thread(still_alive, processes, _END_SECONDS):
            world.found(f"{' '.join(process.cmdline()[:4])} outlives the supervisor")
