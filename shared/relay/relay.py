"""The relay: publishes a database's outbox in the order of its commits. Microservices Patterns, 3.3.7.

It follows the outbox in PostgreSQL's write-ahead log through a replication slot, which remembers how far it has come:

    take the slot  ->  is the message of the last checkpoint still in the stream?  ->  follow the log:
                                                                                      publish, checkpoint, confirm

What keeps it from losing anything:

- A position of the log is confirmed only when a checkpoint covers it, and a checkpoint is written only when the broker
  has acknowledged everything before it. After a crash at any point the slot sends again what came since.
- The broker may lose what it has acknowledged (JetStream does before it writes to disk). Then the message of the last
  checkpoint is not where it was. The relay takes the newest checkpoint whose message still is, and publishes again the
  rows of all transactions that had not ended when that checkpoint was written.
- The slot may be missing or lost (a fresh database, a log that grew too large, a fail-over). A new one begins behind a
  snapshot, and what that snapshot shows is published first.

Each of these publishes some rows twice; receivers drop what they have had by the row's id.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from shared.core.backoff import Backoff
from shared.core.errors import TechnicalFault
from shared.core.service_info import ServiceInfo
from shared.core.tasks import beside
from shared.messaging.broker import Broker, BrokerConnection, BrokerUnavailable, LogReader, Publication, subject_of
from shared.messaging.chain import Links, row_id_of
from shared.messaging.envelope import partition_of
from shared.relay import replication
from shared.relay.database import NEVER_STORED, PURGE_ROWS, Checkpoint, Horizon, RelayDatabase, open_database
from shared.relay.pgoutput import LONGEST_TRANSACTION, Committed, OutboxRow, UnexpectedMessage
from shared.relay.replication import DatabaseUnavailable, LogStream, SlotInUse, Snapshot
from shared.relay.status import RelayStatus

BATCH_ROWS = 1000
CHECKPOINT_SECONDS = 1.0
HOUSEKEEPING_SECONDS = 60.0
LAG_SECONDS = 5.0
TICK_SECONDS = 0.5

REACH_BACK = 2 * LONGEST_TRANSACTION
"""How long before its commit a row can have been created: `created_at` is when its transaction began. Only rows are
deleted that were created at least so long before the last checkpoint."""

_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, kw_only=True)
class RelayOptions:
    """How a relay works. `readers` names the services that read a route.

    Rows stay in the outbox for `outbox_retention`, messages in the stream for `stream_max_age`. PostgreSQL ends a
    connection that it has not heard of for `wal_sender_timeout` seconds.
    """

    partitions: int = 1
    outbox_retention: timedelta = timedelta(days=1)
    stream_max_age: timedelta = timedelta(days=7)
    wal_sender_timeout: float = 60
    readers: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Progress:
    """How far the log has been published: `reached` in whole commits, `furthest` (row and position) in the next.

    `seen` is a horizon that becomes valid as soon as a commit behind it has been published.
    """

    reached: Checkpoint
    furthest: tuple[int, int]
    seen: Horizon

    def published(self, row: OutboxRow, position: int | None) -> None:
        """Note a row's position. A repeat has the first one's position, which says nothing about later messages."""
        if position is not None and position > self.furthest[1]:
            self.furthest = (row.id, position)

    def committed(self, commit: Committed) -> None:
        """Note that all rows of a commit have been published."""
        row_id, stream_seq = self.furthest
        horizon = self.seen.xid if commit.lsn >= self.seen.lsn else self.reached.horizon
        self.reached = Checkpoint(row_id, commit.lsn, stream_seq, commit.at, horizon)


@dataclass(frozen=True, slots=True)
class Republished:
    """What was published from the table: how many rows, which one is furthest in the stream, and where."""

    row_id: int
    stream_seq: int
    rows: int


class Stalled(TechnicalFault):
    """The process did not run for so long that another relay may have taken its place."""


class Pulse:
    """Tells whether the process has stood still for longer than `limit` seconds, by a clock that goes on meanwhile.

    It measures in a task of its own, so that a slow broker does not count as standing still.
    """

    def __init__(self, clock: Callable[[], float], limit: float) -> None:
        self._clock = clock
        self._limit = limit
        self.begin()

    def begin(self) -> None:
        """Begin to measure: forget what was before."""
        self._beat_at = self._clock()
        self._stalled = False

    async def beat(self) -> None:
        """Measure until cancelled."""
        while True:
            self._feel()
            await asyncio.sleep(self._limit / 4)

    def check(self) -> None:
        """Raise Stalled when PostgreSQL may have given the slot to another relay since `begin`."""
        self._feel()
        if self._stalled:
            raise Stalled("this process did not run for a while: another relay may have published what it had read")

    def _feel(self) -> None:
        now = self._clock()
        self._stalled = self._stalled or now - self._beat_at > self._limit
        self._beat_at = now


class Relay:
    """The relay of one service's database.

    `clock` returns seconds and also counts those in which the process was stopped.
    """

    def __init__(
        self,
        service: ServiceInfo,
        database_url: str,
        broker: Broker,
        options: RelayOptions = RelayOptions(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        database = urlsplit(database_url).path.removeprefix("/")
        self.status = RelayStatus(service.name, database)
        self._service = service.name
        self._application = service.application
        self._url = database_url
        self._slot = service.application.slot(database)
        self._broker = broker
        self._options = options
        self._clock = clock
        self._pulse = Pulse(clock, options.wal_sender_timeout / 2)
        self._stopping = asyncio.Event()
        self._links = Links(options.readers, {})

    async def run(self) -> None:
        """Relay until `stop` is called. After a technical fault it tries again, for ever. Raises PartitionsDiffer."""
        async with beside(self._pulse.beat()):
            await self._run()
        self.status.stopped()

    def stop(self) -> None:
        """Make `run` return once what is on its way has been acknowledged and confirmed."""
        self.status.stopping()
        self._stopping.set()

    async def _run(self) -> None:
        backoff = Backoff(first=0.1, longest=2.0)
        while not self._stopping.is_set():
            try:
                await self._relay(backoff)
            except (TechnicalFault, UnexpectedMessage) as fault:
                if isinstance(fault, SlotInUse):
                    self.status.standing_by(_reason(fault))
                else:
                    self.status.waiting(_reason(fault))
                with suppress(TimeoutError):
                    async with asyncio.timeout(backoff.pause()):
                        await self._stopping.wait()

    async def _relay(self, backoff: Backoff) -> None:
        """One life of the connections: they are opened together, and when one is lost all are closed."""
        async with open_database(self._url, self._application) as database:
            await database.require_release(self._application.releases, self._service)
            await database.require_outbox()
            if not await self._has_slot(database):
                await self._make_slot(database)
            async with (
                replication.connect(self._url, self._options.wal_sender_timeout) as connection,
                connection.stream(self._slot) as log,
            ):
                self._pulse.begin()  # from here on no other relay publishes
                async with self._broker.connect() as broker:
                    checkpoint = await self._restore_tail(database, broker)
                    self.status.connected()
                    backoff.reset()
                    await self._follow(log, database, broker, checkpoint)

    async def _follow(
        self, log: LogStream, database: RelayDatabase, broker: BrokerConnection, checkpoint: Checkpoint
    ) -> None:
        """Publish what is committed, and confirm it behind a checkpoint at most once a second."""
        furthest = (checkpoint.row_id, checkpoint.stream_seq)
        progress = Progress(checkpoint, furthest, await database.horizon())
        checkpoint_at = housekeeping_at = lag_at = self._clock()
        while True:
            items = await log.take(BATCH_ROWS, wait=TICK_SECONDS)
            await self._publish_log(items, broker, progress)
            if log.empty:
                self.status.caught_up()

            now, stopping = self._clock(), self._stopping.is_set()
            if progress.reached.lsn > checkpoint.lsn and (stopping or now >= checkpoint_at):
                checkpoint, checkpoint_at = progress.reached, now + CHECKPOINT_SECONDS
                if checkpoint.lsn >= progress.seen.lsn:
                    progress.seen = await database.horizon()
                await database.record(checkpoint, links=self._links)
                log.confirm(checkpoint.lsn)
            if stopping:
                return
            if now >= lag_at:
                await _require_tail(broker, checkpoint)
                self.status.lag(await database.lag_bytes(self._slot))
                lag_at = now + LAG_SECONDS
            if now >= housekeeping_at:
                more = await self._clean_up(database, checkpoint)
                housekeeping_at = now if more else now + HOUSEKEEPING_SECONDS

    async def _publish_log(
        self, items: Sequence[OutboxRow | Committed], broker: BrokerConnection, progress: Progress
    ) -> None:
        """Publish the rows among the items, and note how far that brings us."""
        if items:
            self.status.behind(next((item.at for item in items if isinstance(item, Committed)), None))
        positions = iter(await self._publish([item for item in items if isinstance(item, OutboxRow)], broker))
        for item in items:
            if isinstance(item, OutboxRow):
                progress.published(item, next(positions))
            else:
                progress.committed(item)

    async def _restore_tail(self, database: RelayDatabase, broker: BrokerConnection) -> Checkpoint:
        """Publish again what the broker has lost, if anything; return the checkpoint to go on from."""
        checkpoints = await database.checkpoints()
        newest = checkpoints[0]
        expired = await database.surely_past(self._options.stream_max_age)
        base, lost = await self._newest_in_stream(checkpoints, broker, expired)
        await self._link_behind(database, base)
        if not lost:
            return newest
        self.status.tail_lost(base.at if base else None)
        # If this process crashes on the way, another message could have the old position and be taken for this one.
        await database.record(replace(newest, stream_seq=NEVER_STORED))
        done = await self._publish_table(database, broker, base)
        restored = replace(newest, row_id=done.row_id, stream_seq=done.stream_seq)
        await database.record(restored, [checkpoint.row_id for checkpoint in lost], self._links)
        return restored

    async def _has_slot(self, database: RelayDatabase) -> bool:
        """Return whether there is a usable slot and a checkpoint, which tells what the slot covers."""
        return await database.slot_state(self._slot) == "ready" and bool(await database.checkpoints())

    async def _make_slot(self, database: RelayDatabase) -> None:
        """Make the slot, and publish what was committed before it begins: all rows, or those since a checkpoint.

        The temporary slot keeps a second relay from doing the same, and ends with this process. The lasting slot is
        made when everything before it has been published and a checkpoint says so.
        """
        temporary = f"{self._slot}_new"
        begun_at, horizon = await database.now(), await database.horizon()
        expired = await database.surely_past(self._options.stream_max_age)
        async with replication.connect(self._url, self._options.wal_sender_timeout) as connection:
            snapshot = await connection.temporary_slot(temporary)
            self._pulse.begin()
            if await self._has_slot(database):
                return  # another relay was quicker
            checkpoints = await database.checkpoints()
            async with self._broker.connect() as broker:
                base, lost = await self._newest_in_stream(checkpoints, broker, expired)
                await self._link_behind(database, base)
                done = await self._publish_table(database, broker, base, snapshot)
            # Checkpoints of a server that this database was moved from may lie ahead, in another log.
            void = [each.row_id for each in checkpoints if each in lost or each.lsn > snapshot.lsn]
            made = Checkpoint(done.row_id, snapshot.lsn, done.stream_seq, begun_at, horizon.xid)
            await database.record(made, void, self._links)
            await database.keep_slot(temporary, self._slot)
        self.status.slot_made(done.rows, first=not checkpoints)

    async def _newest_in_stream(
        self, checkpoints: Sequence[Checkpoint], stream: LogReader, expired: datetime
    ) -> tuple[Checkpoint | None, list[Checkpoint]]:
        """Return the newest checkpoint whose message is where it was, and the newer ones whose messages are lost.

        Messages from before `expired` are not lost: the stream has dropped them because of their age.
        """
        bounds = await stream.bounds()
        lost: list[Checkpoint] = []
        for checkpoint in checkpoints:
            if checkpoint.stream_seq == 0:
                return checkpoint, lost
            mark = await stream.message_at(checkpoint.stream_seq)
            if mark is not None and mark.row_id == row_id_of(self._service, checkpoint.row_id):
                return checkpoint, lost
            if mark is None and checkpoint.at < expired and 0 < checkpoint.stream_seq < bounds.first:
                return checkpoint, lost
            lost.append(checkpoint)
        return None, lost

    async def _link_behind(self, database: RelayDatabase, base: Checkpoint | None) -> None:
        """Continue the chains as they were at a checkpoint: what is published next comes behind it in the stream."""
        self._links = Links(self._options.readers, await database.chain_heads(base.lsn) if base else {})

    async def _publish_table(
        self,
        database: RelayDatabase,
        broker: BrokerConnection,
        base: Checkpoint | None,
        snapshot: Snapshot | None = None,
    ) -> Republished:
        """Publish the table's rows that a checkpoint may not cover, or all of them."""
        row_id, stream_seq, count = (base.row_id, base.stream_seq, 0) if base else (0, 0, 0)
        async with aclosing(database.rows_since(base.horizon if base else None, snapshot)) as chunks:
            async for rows in chunks:
                for row, position in zip(rows, await self._publish(rows, broker), strict=True):
                    if position is not None and position > stream_seq:
                        row_id, stream_seq = row.id, position
                count += len(rows)
        return Republished(row_id, stream_seq, count)

    async def _publish(self, rows: Sequence[OutboxRow], broker: BrokerConnection) -> list[int | None]:
        """Publish rows in this order; return their positions, None for those that the broker will never accept.

        Without rows it still asks the broker: an idle relay must notice that the broker has restarted.
        A row that is never accepted is passed over: waiting would stop everything behind it for ever.
        """
        self._pulse.check()
        messages = [self._publication(row) for row in rows]
        stored = iter(await broker.publish([message for message in messages if message is not None]))
        positions = [None if message is None else next(stored) for message in messages]
        for row, position in zip(rows, positions, strict=True):
            if position is None:
                self.status.refused(row.id, row.subject, len(row.headers.encode()) + len(row.data.encode()))
        self.status.published(sum(position is not None for position in positions))
        return positions

    def _publication(self, row: OutboxRow) -> Publication | None:
        """Return the row as a message; None if its headers can't be read."""
        try:
            headers = _decode_headers(row.headers)
        except msgspec.DecodeError:
            return None
        partition = partition_of(row.key, self._options.partitions)
        return Publication(
            row_id=row_id_of(self._service, row.id),
            subject=subject_of(partition, row.subject),
            headers={**headers, **self._links.next(row.id, headers.get("ce-id", ""), partition, row.subject)},
            data=row.data,
        )

    async def _clean_up(self, database: RelayDatabase, checkpoint: Checkpoint) -> bool:
        """Delete what has been kept for long enough; return whether there is more."""
        deleted = await database.purge(self._options.outbox_retention, checkpoint.at - REACH_BACK)
        if deleted == PURGE_ROWS:
            return True
        await database.thin_checkpoints(self._options.stream_max_age)
        await database.forget_published()
        return False


async def _require_tail(stream: LogReader, checkpoint: Checkpoint) -> None:
    """Raise BrokerUnavailable when the stream is shorter than it was: an idle relay must notice that as well."""
    if (await stream.bounds()).last < checkpoint.stream_seq:
        raise BrokerUnavailable("the stream has lost its end")


def _reason(fault: Exception) -> str:
    match fault:
        case DatabaseUnavailable():
            return f"PostgreSQL: {fault}"
        case BrokerUnavailable():
            return f"NATS: {fault}"
        case _:
            return str(fault)
