"""What the relay asks of its service's database besides the log: its slot's state, outbox rows, and checkpoints."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg

from shared.adapters.postgres.lost_connections import LOST_CONNECTION
from shared.adapters.postgres.releases import require_not_older_than_data
from shared.core.application import Application
from shared.core.releases import Releases
from shared.core.serialization import from_json, to_json
from shared.eventsourcing.store import Metadata, StoredEvent
from shared.messaging.chain import Links
from shared.relay.pgoutput import PUBLICATION, OutboxRow, parse_lsn
from shared.relay.replication import DatabaseUnavailable, Snapshot

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 60.0
CHUNK_ROWS = 500
CHUNK_EVENTS = 200
"""Fewer than of rows: each event is decoded, and the relay's publishing must not wait long meanwhile."""
CHUNK_CHARACTERS = 4 << 20
"""A chunk ends when its data has so many characters, however few rows that are."""
_FETCH_ROWS = 20
PURGE_ROWS = 5000
SCAN_IDS = 10_000
"""Ids of the outbox that one query looks through for rows to publish again, so that no query takes long."""
PUBLISHED_ROWS = 5000
"""Rows in one record of what was published: those of one second at full speed."""

NEVER_STORED = -1
"""Stream sequence of a checkpoint whose message the broker is known to have lost."""

SlotState = Literal["ready", "missing", "lost"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that was committed before `lsn`, at the time `at`, is in the stream at or before `stream_seq`.

    There is the message of the outbox row `row_id`. Both are 0 where nothing had been published yet. Every transaction
    that is committed at or after `lsn` has the id `horizon` or a higher one; None where this is not known.
    """

    row_id: int
    lsn: int
    stream_seq: int
    at: datetime
    horizon: int | None = None


@dataclass(frozen=True, slots=True)
class Horizon:
    """When the log ended at `lsn`, or before that, all transactions with ids below `xid` had ended.

    So the commits of all these are in the log before `lsn`: for every place behind it, what is committed there has the
    id `xid` or a higher one. No clock is involved, and it does not matter in which order ids and commits came.
    """

    xid: int
    lsn: int


_SERVER = "(select system_identifier from pg_control_system())"
# `xmin` is the transaction that wrote a row; a row of the outbox is never written again. It is kept with 32 bits, so it
# is compared by its distance, which holds as long as fewer than 2^31 transactions lie between. What a dump has restored
# was written by the restoring transaction, on a server that knows no horizon yet.
_NOT_BEFORE_HORIZON = """
($3::bigint is null
    or pg_snapshot_xmax(pg_current_snapshot())::text::bigint - $3 >= 1::bigint << 31
    or (xmin::text::bigint - $3) & 4294967295 < 1::bigint << 31)
"""


class RelayDatabase:
    """A session of the relay's role. All methods raise DatabaseUnavailable."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._purged_to = 0

    async def require_release(self, releases: Releases, service: str) -> None:
        """Raise WrongRelease when the database is one of a newer release that this one must not work beside."""
        with database_faults():
            await require_not_older_than_data(self._connection, releases, service)

    async def require_outbox(self) -> None:
        """Raise DatabaseUnavailable until the service's migrations have made the outbox and published it."""
        ready = await self._value(
            "select exists (select from pg_publication where pubname = $1)"
            " and coalesce(has_table_privilege(to_regclass('outbox'), 'select'), false)"
            " and coalesce(has_table_privilege(to_regclass('relay_checkpoints'), 'insert'), false)"
            " and coalesce(has_table_privilege(to_regclass('clock_readings'), 'select'), false)"
            " and coalesce(has_table_privilege(to_regclass('published_rows'), 'insert'), false)",
            PUBLICATION,
        )
        if not ready:
            raise DatabaseUnavailable("the database has no outbox yet: its service has not migrated it")

    async def now(self) -> datetime:
        """Return the time of the server's clock."""
        at: datetime = await self._value("select now()")
        return at

    async def surely_past(self, age: timedelta) -> datetime:
        """Return a time: what is from before it is surely as old as `age`, even if the clock was set meanwhile."""
        at: datetime = await self._value("select surely_past($1)", age)
        return at

    async def horizon(self) -> Horizon:
        """Return the horizon now. The snapshot is taken before the log's end is asked for."""
        with database_faults():
            record = await self._connection.fetchrow(
                "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_current_wal_insert_lsn()::text"
            )
        xid, lsn = record
        return Horizon(xid, parse_lsn(lsn))

    async def slot_state(self, slot: str) -> SlotState:
        """Return whether the slot can be streamed from; `lost` when PostgreSQL has removed log that it needed."""
        status = await self._value(
            "select coalesce(wal_status, 'lost') from pg_replication_slots where slot_name = $1", slot
        )
        if status is None:
            return "missing"
        return "lost" if status == "lost" else "ready"

    async def keep_slot(self, temporary: str, slot: str) -> None:
        """Replace what there is of a slot by a lasting copy of a temporary one."""
        await self._value(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1", slot
        )
        await self._value("select pg_copy_logical_replication_slot($1, $2, false)", temporary, slot)

    async def lag_bytes(self, slot: str) -> int:
        """Return how many bytes of the log PostgreSQL keeps for the slot."""
        lag = await self._value(
            "select pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)"
            " from pg_replication_slots where slot_name = $1",
            slot,
        )
        return max(0, int(lag or 0))

    async def checkpoints(self) -> list[Checkpoint]:
        """Return all checkpoints, the newest first.

        Those of another server have no horizon: its transaction ids mean nothing here.
        """
        with database_faults():
            records = await self._connection.fetch(
                f"select row_id, lsn::text, stream_seq, at, case when server = {_SERVER} then horizon end"
                " from relay_checkpoints as checkpoint"
                " order by checkpoint.lsn desc, stream_seq desc"  # the number, not its text
            )
        return [Checkpoint(row_id, parse_lsn(lsn), *others) for row_id, lsn, *others in records]

    async def record(self, checkpoint: Checkpoint, instead_of: Sequence[int] = (), links: Links | None = None) -> None:
        """Write a checkpoint, and remove those of the rows `instead_of`. `links` has what was published up to it."""
        with database_faults():
            async with self._connection.transaction():
                await self._connection.execute(
                    "delete from relay_checkpoints where row_id = any($1)", [checkpoint.row_id, *instead_of]
                )
                await self._connection.execute(
                    "insert into relay_checkpoints (row_id, lsn, stream_seq, at, horizon, server)"
                    f" values ($1, '0/0'::pg_lsn + $2::numeric, $3, $4, $5, {_SERVER})",
                    checkpoint.row_id,
                    checkpoint.lsn,
                    checkpoint.stream_seq,
                    checkpoint.at,
                    checkpoint.horizon,
                )
                if links is not None:
                    await self._record_published(checkpoint.lsn, links)

    async def _record_published(self, lsn: int, links: Links) -> None:
        sent = links.take_sent()
        for start in range(0, len(sent), PUBLISHED_ROWS):
            rows = sent[start : start + PUBLISHED_ROWS]
            await self._connection.execute(
                "insert into published_rows (lsn, row_ids, lowest, highest, heads)"
                " values ('0/0'::pg_lsn + $1::numeric, $2, $3, $4, $5)",
                lsn,
                rows,
                min(rows),
                max(rows),
                to_json(links.heads),
            )

    async def chain_heads(self, lsn: int | None = None) -> dict[str, str]:
        """Return the ends of the chains of links, now or at a position of the log."""
        heads = await self._value(
            "select heads::text from published_rows where $1::numeric is null or lsn <= '0/0'::pg_lsn + $1::numeric"
            " order by id desc limit 1",
            lsn,
        )
        return {} if heads is None else from_json(dict[str, str], heads)

    async def was_published(self, row: int) -> bool:
        """Return whether a row is among those recorded with a checkpoint."""
        return await self._record_of(row) is not None

    async def published_up_to(self, row: int) -> AsyncGenerator[list[int]]:
        """Yield the rows that have been published up to this one, the newest first, in chunks."""
        id_ = await self._record_of(row)
        until: int | None = row
        while id_ is not None:
            rows: list[int] = await self._value("select row_ids from published_rows where id = $1", id_)
            rows.reverse()
            yield rows if until is None else rows[rows.index(until) :]
            until = None
            id_ = await self._value("select max(id) from published_rows where id < $1", id_)

    async def rows_with(self, ids: Sequence[int]) -> list[OutboxRow]:
        """Return those of these rows that the outbox still has."""
        with database_faults():
            records = await self._connection.fetch(
                "select id, subject, key, headers, data from outbox where id = any($1)", list(ids)
            )
        return [OutboxRow(*record) for record in records]

    async def forget_published(self) -> None:
        """Forget the order of what the outbox no longer has, but for the last ends of the chains."""
        with database_faults():
            await self._connection.execute(
                "delete from published_rows where highest < (select min(id) from outbox)"
                " and id < (select max(id) from published_rows)"
            )

    async def _record_of(self, row: int) -> int | None:
        """Return the id of the record that has a row's last publication; None if there is none."""
        id_: int | None = await self._value(
            "select id from published_rows where lowest <= $1 and highest >= $1 and $1 = any(row_ids)"
            " order by id desc limit 1",
            row,
        )
        return id_

    async def rows_since(
        self, horizon: int | None, snapshot: Snapshot | None = None
    ) -> AsyncGenerator[list[OutboxRow]]:
        """Yield the outbox's rows of transactions not before `horizon` (None: all), by id, in chunks.

        All in one transaction, that of `snapshot` where one is given. It reads the whole outbox: an index would make
        every insert slower, for a query that is rarely needed.
        """
        with database_faults():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                if snapshot is not None:
                    await self._connection.execute(f"set transaction snapshot '{snapshot.name}'")
                begin = await self._value("select min(id) from outbox")
                while begin is not None:
                    cursor = await self._connection.cursor(
                        "select id, subject, key, headers, data from outbox"
                        f" where id >= $1 and id < $2 and {_NOT_BEFORE_HORIZON} order by id",
                        begin,
                        begin + SCAN_IDS,
                        horizon,
                    )
                    async for chunk in _chunks(cursor, CHUNK_ROWS):
                        yield [OutboxRow(*record) for record in chunk]
                    begin = await self._value("select min(id) from outbox where id >= $1", begin + SCAN_IDS)

    async def committed_is_visible(self) -> None:
        """Return when every commit that the log has shown before this call can be seen in the tables.

        A transaction's commit is in the log a moment before others see what it wrote. So this takes a transaction id
        and waits until all transactions with smaller ids have ended. `transaction_timeout` limits how long that takes.
        """
        newest = await self._value("select pg_current_xact_id()::text")
        while True:
            if await self._value("select pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8", newest):
                return
            await asyncio.sleep(0.02)

    async def stored_events(self, types: Sequence[str]) -> AsyncGenerator[list[StoredEvent]]:
        """Yield the stored events of these types, by aggregate, id and version, in chunks, in one transaction."""
        with database_faults():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                # The order is that of the primary key: read along it, not sorted beforehand.
                await self._connection.execute("set local enable_sort = off")
                cursor = await self._connection.cursor(
                    "select aggregate, id, version, type, data::text, metadata::text, occurred_at from events"
                    " where type = any($1) order by aggregate, id, version",
                    list(types),
                )
                async for chunk in _chunks(cursor, CHUNK_EVENTS):
                    yield [_stored_event(record) for record in chunk]

    async def purge(self, retention: timedelta, published_before: datetime) -> int:
        """Delete rows older than the retention that were created before `published_before`; returns how many.

        Looks at the `PURGE_ROWS` rows with the lowest ids, and at as many behind those of the last call, starting over
        at the end. So a call costs the same whether there is much to delete or nothing, and rows with a time in the
        future (a clock was ahead) don't keep those behind them from being deleted.
        """
        with database_faults():
            deleted, self._purged_to = await self._connection.fetchrow(
                "with oldest as (select id, created_at from outbox order by id limit $1),"
                " others as (select id, created_at from outbox where id > $4 order by id limit $1),"
                " past as (select least(surely_past($2), $3) as at),"
                " looked as (select * from oldest union select * from others),"
                " deleted as (delete from outbox using looked, past"
                "  where outbox.id = looked.id and looked.created_at < past.at returning 1)"
                " select (select count(*) from deleted),"
                "  (select case when count(*) = $1 then max(id) else 0 end from others)",
                PURGE_ROWS,
                retention,
                published_before,
                self._purged_to,
            )
        return int(deleted)

    async def thin_checkpoints(self, retention: timedelta) -> None:
        """Keep one checkpoint per minute of those older than 5 minutes, none past the retention; always the newest."""
        with database_faults():
            await self._connection.execute(
                "with numbered as (select row_id, at, row_number() over newest_first as overall,"
                " row_number() over (partition by date_trunc('minute', at) order by lsn desc) as in_minute"
                " from relay_checkpoints window newest_first as (order by lsn desc, stream_seq desc))"
                " delete from relay_checkpoints using numbered where relay_checkpoints.row_id = numbered.row_id"
                " and overall > 1 and (numbered.at < surely_past($1)"
                " or (in_minute > 1 and numbered.at not between now() - interval '5 minutes' and now()))",
                retention,
            )

    async def _value(self, query: str, *arguments: object) -> Any:
        with database_faults():
            return await self._connection.fetchval(query, *arguments)


async def _chunks(cursor: Any, max_rows: int) -> AsyncGenerator[list[Any]]:
    """Yield the cursor's records, which have a column `data`, in chunks that fit into memory."""
    chunk: list[Any] = []
    characters = 0
    while records := await cursor.fetch(min(max_rows, _FETCH_ROWS)):
        chunk += records
        characters += sum(len(record["data"]) for record in records)
        if len(chunk) >= max_rows or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _stored_event(record: Sequence[Any]) -> StoredEvent:
    aggregate, id_, version, type_, data, metadata, occurred_at = record
    return StoredEvent(
        aggregate=aggregate,
        id=id_,
        version=version,
        type=type_,
        data=data,
        metadata=from_json(Metadata, metadata),
        occurred_at=occurred_at,
    )


@asynccontextmanager
async def open_database(url: str, application: Application) -> AsyncIterator[RelayDatabase]:
    """Open a session of the application's relay. Raises DatabaseUnavailable."""
    with database_faults():
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            # Publishing a whole outbox from one snapshot may take long.
            server_settings={
                "application_name": application.session_name(application.relay_program),
                "transaction_timeout": "0",
                "idle_in_transaction_session_timeout": "0",
            },
        )
    try:
        yield RelayDatabase(connection)
    finally:
        # Don't wait for the server: it may be gone.
        connection.terminate()


@contextmanager
def database_faults() -> Iterator[None]:
    """Raise DatabaseUnavailable instead of what asyncpg raises."""
    try:
        yield
    except (asyncpg.PostgresError, *LOST_CONNECTION) as fault:
        raise DatabaseUnavailable((str(fault).splitlines() or [type(fault).__name__])[0]) from fault
