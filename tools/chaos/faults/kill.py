"""Processes end without warning, at any point."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from random import Random

import psutil

from kernel.topology import SERVICES
from tools.chaos import crash_points
from tools.chaos.fault import Fault
from tools.chaos.world import READING, TooLate, World
from tools.system.system import RELAY, Arrangement, System, program_of

_NAME_LENGTH = 60
_ARMED_SECONDS = 5.0
"""Seconds in which a process must reach the crash point."""
_POINTS: dict[str, Sequence[str]] = {
    crash_points.AFTER_COMMIT: ("order", "kitchen", "accounting"),
    crash_points.AFTER_PUBLISH: (RELAY,),
    crash_points.IN_BATCH: READING,
    crash_points.COMPENSATING: ("order",),
}
_ONE, _ALL = "one of a service", "all of a service"
_FORK_SERVER, _ANY_TWO = "the fork server", "any two processes"
_AT_RANDOM = ("postgres", "nats", RELAY, _ONE, _ONE, _ALL, _FORK_SERVER, _ANY_TWO)


class Kill(Fault):
    """Kills processes with `kill -9`. The supervisor restarts what has ended."""

    name = "kill"
    summary = "kill -9 of any process, alone and with others: at random, and at the worst moments"
    times = len(_AT_RANDOM) + len(_POINTS)
    replicas = 2

    def __init__(self) -> None:
        self._deck: list[str] = []

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Have all services end in the middle of their first migration."""
        for service in SERVICES:
            for part in system.parts_of(service.name):
                crash_points.arm(system.folder, part, crash_points.MIGRATING)
        return system.arrangement

    async def begin(self, world: World) -> None:
        """Check that all services ended during their migration, and completed it afterwards."""
        for service in SERVICES:
            parts = world.system.parts_of(service.name)
            for part in parts:
                world.disarm(part)
            if not any(world.restarts(part) for part in parts):
                world.found(f"{service.name} did not end while migrating")

    async def inject(self, world: World, random: Random) -> str:
        """Kill processes in the next of the ways, which are shuffled; each comes at least once per round."""
        if not self._deck:
            self._deck = random.sample([*_AT_RANDOM, *_POINTS], len(_AT_RANDOM) + len(_POINTS))
        card = self._deck.pop()
        if card in _POINTS:
            return await self._kill_at(card, world, random)
        if card == _ANY_TWO:
            return _kill_any(2, world, random)
        if card == _FORK_SERVER:
            world.kill_process(world.fork_server)
            return f"{card} killed, and all programs of ours with it"
        if card in (_ONE, _ALL):
            victims = world.system.parts_of(random.choice(SERVICES).name)
        else:
            victims = [part for part in world.parts if program_of(part) == card]
        if card != _ALL:
            victims = [random.choice(victims)]
        for victim in victims:
            world.kill(victim)
        return f"{' and '.join(victims)} killed"

    async def _kill_at(self, point: str, world: World, random: Random) -> str:
        """Kill the replica that reaches the crash point first."""
        program = random.choice(_POINTS[point])
        parts = world.system.parts_of(program)
        for part in parts:
            world.arm(part, point)
        ended: list[str] = []

        async def has_ended() -> bool:
            ended.extend(part for part in parts if not world.is_armed(part))
            return bool(ended)

        try:
            await world.until(has_ended, f"{program} did not come to the point", _ARMED_SECONDS)
        except TooLate:
            ended.append(random.choice(parts))
            world.kill(ended[0])
            point = f"as it did not come to the point: {point}"
        finally:
            for part in parts:
                world.disarm(part)
        return f"{ended[0]} killed {point}"


def _kill_any(number: int, world: World, random: Random) -> str:
    """Kill any processes of the system: sessions of PostgreSQL, the fork server, programs."""
    victims = sorted(world.processes(), key=lambda process: process.pid)
    victims = random.sample(victims, min(number, len(victims)))
    names = [_name_of(victim) for victim in victims]
    for victim in victims:
        world.kill_process(victim.pid)
    return f"{' and '.join(names)} killed"


def _name_of(process: psutil.Process) -> str:
    """What a process is called in lists of processes."""
    with suppress(psutil.Error, IndexError):
        return " ".join(process.cmdline())[:_NAME_LENGTH].strip() or str(process.name())
    return f"{process.pid}"
