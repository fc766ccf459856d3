"""What a running system takes: its tables, its log, its stream, and the memory of its processes. All in bytes."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
import psutil

from shared.adapters.nats.connection import NatsConnection
from shared.adapters.nats.stream import STREAM
from shared.runtime.supervisor import Supervisor
from shared.runtime.system import System
from shared.runtime.topology import SERVICES

PASSING = frozenset(
    {"outbox", "inbox", "sagas", "idempotency_keys", "set_aside", "subscriptions", "subscription_checkpoints"}
    | {"relay_checkpoints"}
)
"""Tables of what is done with after a while. The others hold the state: they grow with what happens."""

_TABLES = """
select relname, pg_total_relation_size(oid) from pg_class
where relkind = 'r' and relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look, `seconds` after the first order. Tables of a name count together; `memory` is by process (PSS)."""

    seconds: float
    orders: int
    tables: Mapping[str, int]
    wal: int
    stream: int
    memory: Mapping[str, int]


async def take(system: System, supervisor: Supervisor, nats: NatsConnection, seconds: float, orders: int) -> Sample:
    """Look at everything once."""
    tables: Counter[str] = Counter()
    wal = 0
    for service in SERVICES:
        url = system.postgres.admin_url.rpartition("/")[0] + f"/{system.database(service).name}"
        connection = await asyncpg.connect(url, timeout=10, command_timeout=10)
        try:
            for name, size in await connection.fetch(_TABLES):
                tables[name] += size
            wal = await connection.fetchval("select sum(size)::bigint from pg_ls_waldir()")
        finally:
            await connection.close()
    return Sample(
        seconds=round(seconds, 1),
        orders=orders,
        tables=dict(sorted(tables.items())),
        wal=wal,
        stream=(await nats.jetstream.stream_info(STREAM)).state.bytes,
        memory={
            name: memory_of(child.process.pid)
            for name, child in supervisor.children.items()
            if child.process is not None and child.alive
        },
    )


def memory_of(pid: int) -> int:
    """The proportional set size of a process and its children: what they share counts once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_full_info().pss
    return total
