"""What a fault is. Each is a small class in a module of its own in `faults`, which is found there by itself."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import ClassVar

from tools.chaos import faults
from tools.chaos.world import World
from tools.system.process import LaunchError
from tools.system.system import Arrangement, System
from tools.verify.facts import Finding


class Fault:
    """A kind of fault, with one instance for each run. All that is drawn by lot comes from the `random` given.

    A `control` is a fault that the system is not protected from, for example because a protection is switched off: its
    run fails unless something is found, which shows that the same fault's real run could have found it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `./ftgo chaos --list`."""
    times: ClassVar[int] = 5
    """How often it is injected, unless told otherwise."""
    replicas: ClassVar[int] = 1
    """How many there are of each service, and of the relay."""
    settings: ClassVar[Mapping[str, str]] = {}
    """Environment variables of services and relay, beside the short ones that all runs have."""
    control: ClassVar[bool] = False
    outside: ClassVar[bool] = False
    """Whether the supervisor is a process of its own, which can be killed: `World.outside`."""

    @classmethod
    def lacks(cls) -> str:
        """What the fault needs and is not there, such as a program or a right; "" when all is."""
        return ""

    async def prepare(self, folder: Path, stack: AsyncExitStack) -> None:
        """Before there is anything in the system's folder. What is set up is taken down by the stack, at the end."""

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Before anything runs: say how the system, whose ports are known by now, is to be put together. What is
        started here, such as a proxy on whose port the services are to look for a server, is ended by the stack."""
        return system.arrangement

    async def begin(self, world: World) -> None:
        """When all is ready, before the load begins."""

    async def inject(self, world: World, random: Random) -> str:
        """Do it once, and return, when the fault is over, what was done: a few words.

        What must hold in between is checked here, with `world.found`. The time to recover is measured from the return.
        """
        raise NotImplementedError

    async def check(self, world: World) -> Sequence[Finding]:
        """When the system has come to rest: what else does not hold."""
        return ()


def all_faults() -> dict[str, type[Fault]]:
    """Every fault by its name."""
    for module in pkgutil.iter_modules(faults.__path__):
        importlib.import_module(f"{faults.__name__}.{module.name}")
    return {cls.name: cls for cls in sorted(_below(Fault), key=lambda cls: cls.name)}


def _below(cls: type[Fault]) -> set[type[Fault]]:
    found = set(cls.__subclasses__())
    return found.union(*map(_below, found))


def faults_called(names: Sequence[str]) -> tuple[list[type[Fault]], list[str]]:
    """Those named; all but the controls when none is, without those that lack something here, and lines that say so.

    LaunchError when there is none of a name, or one that is named lacks something.
    """
    known = all_faults()
    if unknown := [name for name in names if name not in known]:
        raise LaunchError(f"no fault is called {unknown[0]!r}: {', '.join(known)}")
    chosen = [known[name] for name in names] if names else [cls for cls in known.values() if not cls.control]
    lacking = {cls: f"{cls.name} needs {reason}" for cls in chosen if (reason := cls.lacks())}
    if names and lacking:
        raise LaunchError("; ".join(lacking.values()))
    return [cls for cls in chosen if cls not in lacking], list(lacking.values())
