"""What a running system uses: the sizes of its tables, its log, its stream, and the memory of its processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from kernel.topology import SERVICES
from shared.adapters.nats.connection import connect

if TYPE_CHECKING:
    from tools.bench.running import Running

_TABLES = """
select relname, pg_total_relation_size(relid), n_live_tup, n_dead_tup from pg_stat_user_tables
where schemaname = 'public'
"""
_LOG = "select sum(size)::bigint from pg_ls_waldir()"
_BEHIND = "select coalesce(max(pg_current_wal_lsn() - confirmed_flush_lsn), 0)::bigint from pg_replication_slots"


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a table with its indexes, in bytes; and its rows, as PostgreSQL's statistics count them."""

    bytes: int
    rows: int
    dead: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample, `seconds` after the first order, in bytes unless stated otherwise.

    `tables` are by service and table, such as `order.outbox`. `behind` is the log that the slot furthest behind has
    not confirmed. `memory` is by process (PSS).
    """

    seconds: float
    orders: int
    tables: Mapping[str, Size]
    wal: int
    behind: int
    stream: int
    messages: int
    memory: Mapping[str, int]


@asynccontextmanager
async def looking(running: "Running") -> AsyncIterator[Callable[[float, int], Awaitable[Sample]]]:
    """Provide a function that takes one sample, on connections that stay open in between."""
    async with AsyncExitStack() as stack:
        databases: dict[str, asyncpg.Connection[Any]] = {}
        for service in SERVICES:
            url = urlsplit(running.system.postgres.admin_url)._replace(path=f"/{service.database}").geturl()
            databases[service.name] = await asyncpg.connect(url, timeout=10, command_timeout=10)
            stack.push_async_callback(databases[service.name].close)
        nats = await stack.enter_async_context(connect(running.system.nats_address))

        async def take(seconds: float, orders: int) -> Sample:
            tables = {}
            for service, database in databases.items():
                for name, size, rows, dead in await database.fetch(_TABLES):
                    tables[f"{service}.{name}"] = Size(bytes=size, rows=rows, dead=dead)
            stream = (await nats.jetstream.stream_info(nats.names.log.stream)).state
            return Sample(
                seconds=round(seconds, 1),
                orders=orders,
                tables=dict(sorted(tables.items())),
                wal=await database.fetchval(_LOG),
                behind=await database.fetchval(_BEHIND),
                stream=stream.bytes,
                messages=stream.messages,
                memory=await asyncio.to_thread(running.memory),
            )

        yield take
