"""What a fault is. Each is a small class in a module of its own in `faults`, where it is found automatically."""

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
    """A kind of fault, with one instance per run. Every random choice comes from the `random` given.

    A `control` is a fault that the system is not protected from, for example because a protection is switched off: its
    run fails unless something is found, which shows that the same fault's real run could have found it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `./ftgo chaos --list`."""
    times: ClassVar[int] = 5
    """How often it is injected, unless told otherwise."""
    replicas: ClassVar[int] = 1
    """The number of replicas of each service, and of the relay."""
    settings: ClassVar[Mapping[str, str]] = {}
    """Environment variables of services and relay, in addition to the short time-outs of every run."""
    control: ClassVar[bool] = False
    outside: ClassVar[bool] = False
    """Whether the supervisor is a separate process, which can be killed: `World.outside`."""

    @classmethod
    def lacks(cls) -> str:
        """What the fault needs but is missing, such as a program or a privilege; "" when nothing is missing."""
        return ""

    async def prepare(self, folder: Path, stack: AsyncExitStack) -> None:
        """Prepare before there is anything in the system's folder. The stack takes down at the end what is set up."""

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Before anything runs: return how the system, whose ports are known by now, is to be put together. The stack
        ends what is started here, such as a proxy through which the services are to reach a server."""
        return system.arrangement

    async def begin(self, world: World) -> None:
        """Called when the system is ready, before the load begins."""

    async def inject(self, world: World, random: Random) -> str:
        """Inject the fault once. When it is over, return a few words about what was done.

        What must hold during the fault is checked here, with `world.found`. The time to recover is measured from the
        return.
        """
        raise NotImplementedError

    async def check(self, world: World) -> Sequence[Finding]:
        """Return what else does not hold, when the system has come to rest."""
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
    """Return the faults named, and lines about those left out.

    Without names: all but the controls, leaving out those that lack something here. Raises LaunchError when a name is
    unknown, or a fault that is named lacks something.
    """
    known = all_faults()
    if unknown := [name for name in names if name not in known]:
        raise LaunchError(f"no fault is called {unknown[0]!r}: {', '.join(known)}")
    chosen = [known[name] for name in names] if names else [cls for cls in known.values() if not cls.control]
    lacking = {cls: f"{cls.name} needs {reason}" for cls in chosen if (reason := cls.lacks())}
    if names and lacking:
        raise LaunchError("; ".join(lacking.values()))
    return [cls for cls in chosen if cls not in lacking], list(lacking.values())
