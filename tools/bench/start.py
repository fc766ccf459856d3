"""The start of the whole system: how long `./ftgo up` takes until all is ready, and what memory that needs."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.bench.machine import Surroundings, surroundings
from tools.bench.orders import Load, plan_of, play
from tools.system.process import LaunchError, memory_of
from tools.system.run_state import read_state
from tools.system.system import System, system_on_free_ports
from tools.system.up import start_up

SUPERVISOR = "supervisor"
"""`./ftgo up` itself, with the process that its programs are forked from."""
USERS = 20
PATIENCE = 120.0
READY = "Ready after"
_LOOK_SECONDS = 0.02

_clock = time.perf_counter


@dataclass(frozen=True, kw_only=True)
class Started:
    """A start, from the command to the line that says that all is ready. `memory` is by part, in bytes (PSS)."""

    seconds: float
    memory: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of one run: the first start with an empty folder, under load, and the start on existing data."""

    number: int
    empty: Started
    orders: int
    loaded: dict[str, int]
    used: Started


async def measure(folder: Path, number: int, seed: int, seconds: float) -> tuple[Measured, Surroundings]:
    """Start on an empty folder, use the system for some seconds, and start again. LaunchError when that fails."""
    system = system_on_free_ports(folder)
    plan = plan_of(system, Load(users=USERS), f"{seed} {number}", 0, seconds)
    async with _up(system) as (pid, took):
        empty = Started(seconds=took, memory=_memory(pid, folder))
        where = await surroundings(system)

        async def look() -> dict[str, int]:
            return _memory(pid, folder)

        _, loaded, outcome = await play(plan, look)
    async with _up(system) as (pid, took):
        used = Started(seconds=took, memory=_memory(pid, folder))
    return Measured(number=number, empty=empty, orders=outcome.in_all, loaded=loaded, used=used), where


@asynccontextmanager
async def _up(system: System) -> AsyncIterator[tuple[int, float]]:
    """Run `./ftgo up` as a person would; gives its process and the seconds until all was ready. LaunchError."""
    log = system.folder / "up.log"
    log.unlink(missing_ok=True)
    begun = _clock()
    process = await start_up(system, log)
    try:
        while READY not in log.read_text():
            if process.returncode is not None or _clock() - begun > PATIENCE:
                raise LaunchError("./ftgo up does not start")
            await asyncio.sleep(_LOOK_SECONDS)
        yield process.pid, round(_clock() - begun, 2)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()


def _memory(supervisor: int, folder: Path) -> dict[str, int]:
    """The memory that each part uses now."""
    state = read_state(folder)
    if state is None:
        raise LaunchError("./ftgo up has ended")
    parts = {name: memory_of(part["pid"]) for name, part in state["parts"].items() if part["pid"] is not None}
    return {SUPERVISOR: memory_of(supervisor) - sum(parts.values()), **parts}
