"""Tables that are filled beside those in use, and then take their place."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.adapters.postgres.errors import translated_errors
from shared.adapters.postgres.releases import LIBRARY_VERSION, SERVICE_VERSION, require_not_older_than_data
from shared.core.errors import Conflict
from shared.core.releases import Releases

SUFFIX = "_rebuilt"
SWAP_SECONDS = 2.0
"""How long a swap may wait for locks, and then catch up, while readers and the subscription wait for it."""

_LOCK = 0x4654474F52  # any number that nothing else locks
_RIGHTS = """
select privilege_type, grantee::regrole::text
from pg_class, aclexplode(relacl) where pg_class.oid = $1::regclass and grantee <> relowner
"""
_PLAIN_INDEXES = """
select indexrelid::regclass::text, pg_get_indexdef(indexrelid)
from pg_index where indrelid = $1::regclass and not indisunique
"""
# Indexes of the two tables that are alike but for their names; of several alike it does not matter which is which.
_INDEX_NAMES = """
with named as (
    select indrelid, indexrelid::regclass::text as name, indexrelid,
        indisprimary || regexp_replace(pg_get_indexdef(indexrelid), ' INDEX .* ON .* USING ', ' ') as definition
    from pg_index where indrelid in ($1::regclass, $2::regclass)
), numbered as (
    select *, row_number() over (partition by indrelid, definition order by indexrelid) as number from named
)
select old.name, new.name
from (select * from numbered where indrelid = $1::regclass) as old
full join (select * from numbered where indrelid = $2::regclass) as new using (definition, number)
"""


class AlreadyRebuilding(Exception):
    """Another rebuild of the same tables is under way."""


class SchemaChanged(Exception):
    """The tables in use are no longer those that the new ones were made like."""


class NewTables:
    """The new tables, and the session whose lock keeps others from making them too."""

    def __init__(self, session: "asyncpg.Connection[Any]", names: Sequence[str]) -> None:
        self._session = session
        self._names = names
        self._schema: object = None
        self._indexes: list[str] = []
        self._made_good: Sequence[Any] = ()

    async def make(self) -> None:
        """Make them like those in use: columns, keys, storage parameters and rights."""
        self._schema = await self._schema_version()
        self._made_good = await self._session.fetch("select partition, sender, before_row from missing_messages")
        await self.remove()
        async with self._session.transaction():
            for name in self._names:
                new = f"{name}{SUFFIX}"
                await self._session.execute(f"create table {new} (like {name} including all)")
                for option in await self._session.fetchval(
                    "select coalesce(reloptions, '{}') from pg_class where oid = $1::regclass", name
                ):
                    await self._session.execute(f"alter table {new} set ({option})")
                for privilege, role in await self._session.fetch(_RIGHTS, name):
                    await self._session.execute(f"grant {privilege} on {new} to {role}")
                for index, definition in await self._session.fetch(_PLAIN_INDEXES, new):
                    await self._session.execute(f"drop index {index}")
                    self._indexes.append(definition)

    async def require_release(self, releases: Releases, service: str) -> None:
        """Raise WrongRelease when the database is one of a newer release that this one must not work beside."""
        await require_not_older_than_data(self._session, releases, service)

    async def index(self) -> None:
        """Make the other indexes. On what is there that takes far less than to keep them while it is written."""
        while self._indexes:
            await self._session.execute(self._indexes[-1])
            self._indexes.pop()

    async def analyze(self) -> None:
        """Tell the planner what is in them, so that the first queries are as fast as those before."""
        for name in self._names:
            await self._session.execute(f"analyze {name}{SUFFIX}")

    async def swap(self, catch_up: Callable[[int], Awaitable[None]]) -> None:
        """Have them take the place of those in use.

        `catch_up` is called when neither can change any more: it brings the new ones to the position, or further, that
        the subscription has come to. The order of the locks is that of the subscription's own transactions, first the
        tables, then its row: another one would be a deadlock. Raises Conflict when it takes too long, which has changed
        nothing.
        """
        with translated_errors():
            async with self._session.transaction():
                for name in self._names:
                    await self._session.execute(f"lock table {name} in access exclusive mode")
                rows = await self._session.fetch("select position from subscriptions order by partition for update")
                if await self._schema_version() != self._schema:
                    raise SchemaChanged("a migration has run meanwhile: begin anew")
                try:
                    async with asyncio.timeout(SWAP_SECONDS):
                        await catch_up(max((position for (position,) in rows), default=0))
                except TimeoutError:
                    raise Conflict("the last messages took too long") from None
                for name in self._names:
                    await self._take_place_of(name)
                # Whatever was missing when it began, its sender has stored, and the new tables are made of that.
                await self._session.executemany(
                    "delete from missing_messages where (partition, sender, before_row) = ($1, $2, $3)",
                    self._made_good,
                )

    async def remove(self) -> None:
        """Remove them, if they are there: what a rebuild that did not end has left."""
        for name in self._names:
            await self._session.execute(f"drop table if exists {name}{SUFFIX}")

    async def _take_place_of(self, name: str) -> None:
        indexes = await self._session.fetch(_INDEX_NAMES, name, f"{name}{SUFFIX}")
        if any(old is None or new is None for old, new in indexes):
            raise SchemaChanged(f"the indexes of {name} were changed meanwhile: begin anew")
        await self._session.execute(f"drop table {name}")
        await self._session.execute(f"alter table {name}{SUFFIX} rename to {name}")
        for old, new in indexes:
            await self._session.execute(f"alter index {new} rename to {old}")

    async def _schema_version(self) -> object:
        return await self._session.fetch(
            f"select version_num from {LIBRARY_VERSION} union all select version_num from {SERVICE_VERSION}"
        )


@asynccontextmanager
async def new_tables(url: str, names: Sequence[str]) -> AsyncIterator[NewTables]:
    """New tables for those of these names, as their owner. Unless they are swapped in, they are removed afterwards.

    Raises AlreadyRebuilding, and DatabaseUnavailable when the session is lost: its lock is lost with it, and so is the
    right to swap.
    """
    with translated_errors():
        session = await asyncpg.connect(
            url,
            timeout=5,
            server_settings={
                "application_name": "rebuild",
                # Should we be stopped in the middle of a swap, the tables are free again.
                "idle_in_transaction_session_timeout": str(int(SWAP_SECONDS * 2000)),
                "lock_timeout": str(int(SWAP_SECONDS * 1000)),
            },
        )
        try:
            if not await session.fetchval("select pg_try_advisory_lock($1)", _LOCK):
                raise AlreadyRebuilding("another rebuild is under way: wait until it has ended")
            tables = NewTables(session, names)
            await tables.make()
            try:
                yield tables
            finally:
                if not session.is_closed():
                    await tables.remove()
        finally:
            session.terminate()
