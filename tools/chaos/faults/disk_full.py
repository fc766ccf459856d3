"""The disk that everything of the system is on has no room left."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import asyncpg

from tools.chaos.fault import Fault
from tools.chaos.world import World
from tools.system.process import LaunchError
from tools.system.system import Arrangement, System

_SIZE = "384m"
"""The size of the disk. It is in memory, all of which is used while the disk is full."""
_SETTINGS = {"max_wal_size": "64MB", "min_wal_size": "32MB"}
"""Without these settings PostgreSQL's log alone would be larger than the disk."""
_LONGEST_SECONDS = 30.0
_SHORTEST_SECONDS = 10.0
_CHUNK = b"x" * (1 << 20)


class DiskFull(Fault):
    """A separate file system in memory is filled up by a file, which is removed again.

    Databases, PostgreSQL's log, NATS' store, the programs' logs and the supervisor's state are all on it. PostgreSQL is
    made to need the next segment of its log, for which there is no room: it ends, and can't start again either.
    """

    name = "disk-full"
    summary = "The disk of everything, databases, stream and logs, is full: when there is room, all goes on by itself"
    times = 2

    @classmethod
    def lacks(cls) -> str:
        """The privilege to mount a file system, when it is missing."""
        with tempfile.TemporaryDirectory() as folder:
            if _mount(Path(folder)):
                return "the right to mount a file system, which root has (in a container: with CAP_SYS_ADMIN)"
            _run("umount", folder)
        return ""

    async def prepare(self, folder: Path, stack: AsyncExitStack) -> None:
        """Put the system's folder on that disk. At the end its content is copied to the disk around it."""
        if reason := await asyncio.to_thread(_mount, folder):
            raise LaunchError(f"disk-full can't mount its disk: {reason}")
        stack.push_async_callback(asyncio.to_thread, _unmount, folder)

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """Keep PostgreSQL's log small."""
        return replace(system.arrangement, postgres_settings=_SETTINGS)

    async def inject(self, world: World, random: Random) -> str:
        """Fill the disk, check that clients are told to retry later, keep it full for a while, and make room."""
        seconds = random.uniform(_SHORTEST_SECONDS, _LONGEST_SECONDS)
        filler = world.system.folder / "filler"
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        try:
            await asyncio.to_thread(_fill, filler)
            await _use_up_the_log(world)
            await world.until_refused("consumer", "POST", "/api/consumers", {"name": "One too many"})
            while loop.time() < until:
                await asyncio.to_thread(_fill, filler)  # room that others have freed meanwhile
                await asyncio.sleep(0.1)
        finally:
            filler.unlink(missing_ok=True)
        return f"the disk was full for {seconds:.0f} s"


def _mount(folder: Path) -> str:
    """Mount a disk there; returns the error if that fails."""
    return _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=711", "ftgo-chaos", str(folder))


def _unmount(folder: Path) -> None:
    """Copy what is on the disk to its place on the one around it, with its owners, and unmount it."""
    copy = folder.with_name(f"{folder.name}.kept")
    _run("cp", "--archive", str(folder), str(copy))
    _run("umount", "--lazy", str(folder))
    folder.rmdir()
    copy.rename(folder)


def _run(*command: str) -> str:
    """Run a program of the operating system; returns its error output if it fails."""
    path = shutil.which(command[0])
    if path is None:
        return f"there is no program {command[0]}"
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)  # noqa: S603 - see callers
    return "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]} failed"


def _fill(filler: Path) -> None:
    """Take all the room there is."""
    file = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with suppress(OSError):
            while True:
                os.write(file, _CHUNK)
    finally:
        os.close(file)


async def _use_up_the_log(world: World) -> None:
    """Make PostgreSQL use up the log segments that it has, so that it ends."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        async with world.admin() as connection:
            while True:
                await connection.execute("select pg_logical_emit_message(false, 'chaos', ''), pg_switch_wal()")
