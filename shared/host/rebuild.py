"""Builds a read model anew from the owners' stored events, while its service goes on.

new tables beside the old ones  ->  the owners' stored events  ->  what came in meanwhile  ->  swap

The service's own handlers fill the new tables. They go by the events' versions and ignore repeats. So what happens
meanwhile may come twice, from an owner's store and from the stream, and the subscription may handle again what
the new tables have already.
"""

import argparse
import asyncio
import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop
from pydantic import ValidationError
from sqlalchemy import MetaData

from shared.adapters.nats.connection import NatsConnection, connect
from shared.adapters.nats.keeper_client import stream_for_replays
from shared.adapters.nats.replay import NoAnswer, ask, read_replay
from shared.adapters.postgres.database import PostgresDatabase
from shared.adapters.postgres.new_tables import SUFFIX, AlreadyRebuilding, NewTables, SchemaChanged, new_tables
from shared.core.backoff import Backoff
from shared.core.context import Cause
from shared.core.errors import Conflict, TechnicalFault
from shared.core.ids import new_id
from shared.core.serialization import Undecodable, decode_message
from shared.host.container import ServiceContainer
from shared.host.settings import what_is_wrong
from shared.messaging.broker import Feed, LogReader, PartitionsDiffer
from shared.messaging.envelope import Envelope, Received
from shared.messaging.handlers import Handlers
from shared.messaging.replay import END_HEADER, ReplayRequest, message_id
from shared.unit_of_work.unit_of_work import UnitOfWork, Units

log = logging.getLogger("rebuild")

TRIES = 5
BATCH = 400
QUIET_SECONDS = 15.0
"""Silence of a replay after which its relay is asked whether it still goes on."""
FEW = 50
"""With no more new messages than this, the rest can be read while queries wait."""
_TELL_EVERY = 10_000


class RebuildFailed(Exception):
    """It could not be done; the old tables are in use as before."""


EXPECTED = (
    RebuildFailed,
    AlreadyRebuilding,
    SchemaChanged,
    PartitionsDiffer,
    TechnicalFault,
    Undecodable,
)
"""Faults that are told in one line, without a traceback."""


@dataclass(frozen=True)
class Rebuilt:
    """What the new tables were made from."""

    stored: int
    came_in: int


class Projection:
    """The handlers of a service, working on its new tables. There is no inbox: order and versions decide."""

    def __init__(self, handlers: Handlers, units: Units[UnitOfWork]) -> None:
        self._handlers = handlers
        self._units = units

    async def apply(self, batch: Sequence[Received]) -> None:
        """Handle events in their order, in one unit of work."""
        try:
            envelopes = [Envelope.of(received) for received in batch]
        except ValueError as error:
            raise RebuildFailed(f"not a message of ours: {error}") from None
        events = [decode_message(each.type, each.data, each.schema) for each in envelopes]
        async with self._units.begin() as uow:
            await uow.prefetch(events)
            for envelope, event in zip(envelopes, events, strict=True):
                with uow.attempt(_cause(envelope)):
                    await self._handlers[type(event)](event, uow)


class Replayed:
    """The owners' stored events, one owner after the other."""

    def __init__(self, connection: NatsConnection, projection: Projection) -> None:
        self._reader = connection.user
        self._connection = connection
        self._projection = projection

    async def of(self, owner: str, types: Sequence[str]) -> int:
        """Project an owner's events of these types; return how many there were. Raises RebuildFailed."""
        reason = ""
        for _ in range(TRIES):
            run = new_id()
            if reason := await self._begin(owner, ReplayRequest(reader=self._reader, run=run, types=tuple(types))):
                raise RebuildFailed(f"{owner}: {reason}")
            async with read_replay(self._connection, self._reader, run) as feed:
                count = await self._read(owner, run, feed)
            if isinstance(count, int):
                return count
            reason = count
            log.warning("%s: the replay ended early (%s): asking again", owner, reason)
        raise RebuildFailed(f"{owner}: its relay did not send everything: {reason}")

    async def _begin(self, owner: str, request: ReplayRequest) -> str:
        """Have the replay begin; return why it does not, or nothing. Wait for a relay that is just being started."""
        backoff = Backoff(first=0.5, longest=3)
        while True:
            try:
                return (await ask(self._connection, owner, request)).reason
            except NoAnswer:
                if backoff.tries == TRIES:
                    raise
                await asyncio.sleep(backoff.pause())

    async def _read(self, owner: str, run: str, feed: Feed) -> int | str:
        """Project a run up to its end mark; return the count, or why there is no end mark."""
        count = 0
        while True:
            batch = await feed.take(BATCH, QUIET_SECONDS)
            if not batch:
                answer = await ask(self._connection, owner, ReplayRequest(reader=self._reader, run=run))
                if answer.running:
                    continue
                if not (batch := await feed.take(BATCH, 0)):
                    return answer.reason or "the relay was started again"
            announced = batch[-1].headers.get(END_HEADER)
            events = batch if announced is None else batch[:-1]
            expected = [message_id(run, number) for number in range(count + 1, count + 1 + len(events))]
            if [received.row_id for received in events] != expected:
                raise RebuildFailed(f"{owner}: events are missing behind the {count}th")
            if events:
                await self._projection.apply(events)
                if (count + len(events)) // _TELL_EVERY > count // _TELL_EVERY:
                    log.info("%s: %d events so far", owner, count + len(events))
                count += len(events)
            if announced is not None:
                if int(announced) != count:
                    raise RebuildFailed(f"{owner}: {announced} events were announced, and {count} came")
                return count


class News:
    """What has come into the stream since the rebuild began, in all partitions."""

    def __init__(
        self, stream: LogReader, partitions: int, routes: Sequence[str], projection: Projection, since: int
    ) -> None:
        self._stream = stream
        self._partitions = partitions
        self._routes = routes
        self._projection = projection
        self.reached = since

    async def catch_up(self) -> int:
        """Project what is there now; return how many messages there were."""
        end = (await self._stream.bounds()).last
        if end < self.reached:
            raise RebuildFailed("the broker has lost messages meanwhile: start again")
        count = 0
        for partition in range(self._partitions):
            # The end was taken first: the feed has everything up to it. What comes later in it is for the next time.
            async with self._stream.read(partition, after=self.reached, filters=self._routes, to_end=True) as feed:
                while batch := await feed.take(BATCH, QUIET_SECONDS):
                    await self._projection.apply(batch)
                    count += len(batch)
        self.reached = end
        return count


class Rebuild:
    """One rebuild of all tables that a service's `main` names."""

    def __init__(self, container: ServiceContainer) -> None:
        self._info = container.info()
        self._settings = container.settings()
        self._tables = container.tables()
        self._handlers = container.handlers()
        self._routes = container.routes()
        self._broker = container.broker()
        self._address = container.nats_address()
        self._unit_of_work = container.unit_of_work()
        self._clock = container.clock()
        self._policy = container.policy()

    async def run(self) -> Rebuilt:
        """Build the tables anew. After RebuildFailed, or a fault, the old tables are in use as before."""
        names = [table.name for table in self._tables.values()]
        async with new_tables(str(self._settings.migrations_url), names) as tables:
            await tables.require_release(self._info.application.releases, self._info.name)
            database = self._beside()
            try:
                units = Units(database, lambda transaction: self._unit_of_work(transaction, self._clock, self._policy))
                return await self._fill_and_swap(tables, Projection(self._handlers, units))
            finally:
                await database.close()

    async def _fill_and_swap(self, tables: NewTables, projection: Projection) -> Rebuilt:
        async with self._broker.connect() as stream:
            since = (await stream.bounds()).last
            mark = await stream.message_at(since)
        stored = await self._replay(projection)
        await tables.index()
        async with self._broker.connect() as stream:
            if await stream.message_at(since) != mark:
                raise RebuildFailed("what came in since it began is no longer all in the stream: start again")
            news = News(stream, self._settings.partitions, self._routes, projection, since)
            return Rebuilt(stored, await _swap(tables, news))

    async def _replay(self, projection: Projection) -> int:
        owners: dict[str, list[str]] = {}
        for event in self._handlers:
            owners.setdefault(event.type_name.partition(".")[0], []).append(event.type_name)
        stored = 0
        async with connect(self._address) as connection, stream_for_replays(connection):
            replayed = Replayed(connection, projection)
            for owner, types in sorted(owners.items()):
                count = await replayed.of(owner, types)
                log.info("%s has sent all its stored events: %d", owner, count)
                stored += count
        return stored

    def _beside(self) -> PostgresDatabase:
        """Return the database with the new tables in the place of the old ones."""
        beside = {
            cls: table.to_metadata(MetaData(), name=f"{table.name}{SUFFIX}") for cls, table in self._tables.items()
        }
        return PostgresDatabase(
            str(self._settings.migrations_url),
            beside,
            pool_size=1,
            idle_seconds=self._settings.lease_seconds,
            application_name="rebuild",
        )


async def _swap(tables: NewTables, news: News) -> int:
    """Catch up, first while the service works, then for a moment without it; return how many messages there were."""
    came_in = 0

    async def last_ones(position: int) -> None:
        nonlocal came_in
        came_in += await news.catch_up()
        if news.reached < position:
            raise RebuildFailed("the broker has lost messages that the service has handled: start again")

    for _ in range(TRIES):
        while (count := await news.catch_up()) > FEW:
            came_in += count
        came_in += count
        await tables.analyze()
        try:
            await tables.swap(last_ones)
        except Conflict as conflict:
            log.warning("the tables could not be swapped yet: %s", conflict)
        else:
            return came_in
    raise RebuildFailed("the tables could not be swapped: queries, or the service, kept them locked")


def _cause(envelope: Envelope) -> Cause:
    return Cause(
        correlation_id=envelope.correlation_id,
        id=envelope.id,
        causation_id=envelope.causation_id,
        sequence=envelope.sequence,
        occurred_at=envelope.time,
    )


def main(container: ServiceContainer, arguments: Sequence[str] | None = None) -> int:
    """Rebuild a service's tables; return the exit status."""
    info = container.info()
    name = info.name
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}.rebuild",
        description=f"Build the tables of {name} anew from the owners' stored events. {name} goes on meanwhile; the "
        "owners' relays have to run. It takes the settings of the service.",
    )
    parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        rebuild = Rebuild(container)
    except ValidationError as invalid:
        for line in what_is_wrong(info.application, invalid):
            log.error("%s", line)
        return 2
    gc.freeze()  # what was imported stays, and is much more than what a batch makes
    log.info("%s is being rebuilt; meanwhile it answers from the old tables.", name)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rebuilt = runner.run(rebuild.run())
    except EXPECTED as error:
        log.error("%s was not rebuilt, and answers from the old tables: %s", name, error)
        return 1
    except KeyboardInterrupt:
        log.error("%s was not rebuilt, and answers from the old tables.", name)
        return 130
    log.info("Done: %d stored events, and %d that came meanwhile.", rebuilt.stored, rebuilt.came_in)
    return 0
