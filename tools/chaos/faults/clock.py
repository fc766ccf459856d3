"""The wall clock is set by hours: while orders flow, and just before messages are written that the broker will lose."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random

from tools.chaos.faults.broker_loss import BrokerLoss, Loss
from tools.chaos.world import World
from tools.system.system import Arrangement, System

_LIBRARIES = Path("/usr/lib")
_LIBRARY = "*/faketime/libfaketimeMT.so.1"
_SHORTEST, _LONGEST = 1.0, 6.0
"""By how many hours a clock is wrong, at least and at most. The load's orders are to be delivered a day later."""
_POSTGRES, _PROGRAMS = "postgres", "programs"
"""The files that contain their clocks."""


@dataclass(frozen=True)
class _Step:
    """Whose clock is wrong from now on, and by how many hours, and what is lost with it."""

    hours: float
    postgres: bool = True
    programs: bool = True
    loss: Loss | None = None

    def __str__(self) -> str:
        whose = " and ".join(
            filter(None, ("PostgreSQL" if self.postgres else "", "services and relays" if self.programs else ""))
        )
        return f"the clock of {whose} is {abs(self.hours):.1f} h {'ahead' if self.hours > 0 else 'behind'}"


class Clock(BrokerLoss):
    """libfaketime gives each process the time from a file, which can be changed while the process runs.

    Only the wall clock changes: pauses use another clock. nats-server keeps the right time, because a Go program asks
    the kernel without the C library. A broker on another machine may have the right time too.
    """

    name = "clock"
    summary = "the clocks of PostgreSQL, services and relays are set by hours, also while the broker loses messages"
    times = 4

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[_Step] = []
        self._step = _Step(0)
        self._folder: Path

    @classmethod
    def lacks(cls) -> str:
        """The library and Debian's package for it, when it is missing."""
        return "" if _library() else "libfaketime (apt-get install faketime)"

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Have all programs but NATS start with the library."""
        library = _library()
        self._folder = system.folder / "clocks"
        self._folder.mkdir()
        self._folder.chmod(0o755)
        for name in (_POSTGRES, _PROGRAMS):
            self._set(name, 0)

        def with_clock(part: str) -> Sequence[str]:
            file = self._file(_POSTGRES if part == _POSTGRES else _PROGRAMS)
            settings = {
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": file,
                "FAKETIME_CACHE_DURATION": "1",  # seconds after which a process reads the file again
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DISABLE_SHM": "1",  # processes share nothing but the file
            }
            return ("/usr/bin/env", *(f"{variable}={value}" for variable, value in settings.items()))

        return replace(await super().arrange(system, stack), wrapper=with_clock)

    async def inject(self, world: World, random: Random) -> str:
        """Set the clock to another time. It stays so until the next injection."""
        if not self._steps:
            self._steps = random.sample(steps := self._drawn(random), len(steps))
        self._step = self._steps.pop()
        if self._step.loss is None:
            await self.before_it_is_written(world)
            return str(self._step)
        self.deck = [self._step.loss]
        return f"{self._step}; {await super().inject(world, random)}"

    async def before_it_is_written(self, world: World) -> None:
        """Set the clock. In a round with a loss, this is after the moment that the store is set back to."""
        postgres = self._step.hours if self._step.postgres else 0
        programs = self._step.hours if self._step.programs else 0
        self._set(_POSTGRES, postgres)
        self._set(_PROGRAMS, programs)

        async def is_set() -> bool:
            async with world.admin() as connection:
                if not _says(await connection.fetchval("select clock_timestamp()"), postgres):
                    return False
            answer = await world.ask("order", "GET", "/ping")
            return _says(parsedate_to_datetime(answer.headers["Date"]), programs)

        await world.until(is_set, "the clocks were not set: nothing was tried")

    def _drawn(self, random: Random) -> list[_Step]:
        """The steps of one round, chosen at random."""

        def by() -> float:
            return random.uniform(_SHORTEST, _LONGEST)

        return [
            _Step(by()),
            _Step(-by(), postgres=False),
            _Step(-by(), loss=Loss(set_back=True)),
            _Step(random.choice((by(), -by())), programs=random.choice((True, False)), loss=Loss(set_back=False)),
        ]

    def _file(self, name: str) -> Path:
        return self._folder / name

    def _set(self, name: str, hours: float) -> None:
        unfinished = self._file(f"{name}.new")
        unfinished.write_text(f"{hours * 3600:+.0f}\n")
        unfinished.chmod(0o644)
        unfinished.replace(self._file(name))


def _library() -> Path | None:
    return next(iter(sorted(_LIBRARIES.glob(_LIBRARY))), None)


def _says(time: datetime, hours: float) -> bool:
    """Whether a clock is that far ahead."""
    return abs(time - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=1)
