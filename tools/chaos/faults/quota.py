"""PostgreSQL can't make its files larger."""

import asyncio
import shutil
import subprocess
from contextlib import suppress
from random import Random
from typing import Any

import asyncpg
import psutil

from kernel.topology import BY_NAME
from tools.chaos.fault import Fault
from tools.chaos.world import PUBLISHING, World
from tools.system.embedded.installation import server_user

_LEAST_BYTES = 17 << 20
"""The least size of an outbox: larger than a segment of the write-ahead log, which PostgreSQL can't do without."""
_SIZE = "select pg_relation_size('outbox')"
_FILL = """
insert into outbox (subject, key, headers, data)
select '', '', '{}', repeat('x', 1970) from generate_series(1, 100000)
"""
"""More rows than there is room for. Four fill a page. They are rolled back, but the file keeps its size."""
_KEEP = "alter table outbox set (autovacuum_enabled = false)"


class Quota(Fault):
    """Limits the size of PostgreSQL's files to one that all outboxes have reached.

    To PostgreSQL this is nearly the same trouble as a full disk: it ignores SIGXFSZ, so that what is beyond the limit
    fails, though with EFBIG. Its log goes on, and so do NATS and everything else. This needs no root privileges.
    """

    name = "quota"
    summary = "PostgreSQL can't make its tables larger: clients are told to come again, until it can"
    times = 3

    @classmethod
    def lacks(cls) -> str:
        """The program that sets the limit, when it is missing."""
        return "" if shutil.which("prlimit") else "the program prlimit, of util-linux"

    async def begin(self, world: World) -> None:
        """Keep the outboxes from giving back the room that they have taken."""
        for service in PUBLISHING:
            async with world.admin(BY_NAME[service].database) as connection:
                await connection.execute(_KEEP)

    async def inject(self, world: World, random: Random) -> str:
        """Forbid PostgreSQL to enlarge the outboxes, check that clients are told to retry later, and allow it again."""
        server = world.pid("postgres")
        assert server is not None
        most = max([_LEAST_BYTES, *[await _size(world, service) for service in PUBLISHING]])
        await asyncio.to_thread(_limit_files, server, f"{most}")
        try:
            await asyncio.gather(*[_fill(world, service) for service in PUBLISHING])
            await world.until_refused("consumer", "POST", "/api/consumers", {"name": "One too many"})
            await asyncio.sleep(random.uniform(0.5, 3.0))
        finally:
            await asyncio.to_thread(_limit_files, server, "unlimited")
        if world.pid("postgres") != server:
            world.found("PostgreSQL has ended")
        return "no outbox could become larger"


async def _fill(world: World, service: str) -> None:
    """Make an outbox as large as it may become."""
    async with world.admin(BY_NAME[service].database) as connection:
        with suppress(asyncpg.InternalServerError):
            await connection.execute(_FILL)


async def _size(world: World, service: str) -> int:
    async with world.admin(BY_NAME[service].database) as connection:
        return int(await connection.fetchval(_SIZE))


def _limit_files(server: int, most: str) -> None:
    """Set the limit for the server and all its processes. Those that it starts later inherit it."""
    _limit(server, most)
    for process in psutil.Process(server).children():
        _limit(process.pid, most)


def _limit(pid: int, most: str) -> None:
    """Set the limit as PostgreSQL's user: in a container even root may not do that for other users' processes."""
    user = server_user()
    as_user: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    command = [shutil.which("prlimit") or "prlimit", f"--pid={pid}", f"--fsize={most}:"]
    subprocess.run(command, check=False, capture_output=True, **as_user)  # noqa: S603 - an ended process needs no limit
