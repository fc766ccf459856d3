"""Nothing is lost, whatever dies: the relay, the broker, its store."""

import asyncio
import dataclasses
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from psycopg2 import extras

from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress, connect
from shared.host.provision import Database
from shared.messaging.broker import Publication
from shared.relay import database as relay_database
from shared.relay import pgoutput
from shared.relay import relay as relay_module
from shared.relay.tests.support import (
    OPTIONS,
    ROUTE,
    GatedBroker,
    Writer,
    eventually,
    first_seen,
    ids,
    metric,
    nats_broker,
    opened,
    published,
    running,
    stored,
)
from tests.support.infra import NatsServer, Server


@asynccontextmanager
async def migrations(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """As the role that owns the tables."""
    connection = await asyncpg.connect(database.migrations_url)
    try:
        yield connection
    finally:
        await connection.close()


STREAM = "FTGO"


class Store:
    """A nats-server's files, to be lost or set back while it is stopped."""

    def __init__(self, nats: NatsServer) -> None:
        self._nats = nats
        assert isinstance(nats.server, Server), "only a broker on this disk can be set back"
        self._files = nats.server.log.parent / "store"
        self._copy = Path(f"{self._files}.copy")

    def copy(self) -> None:
        """Remember what is there."""
        self._nats.server.stop()
        shutil.copytree(self._files, self._copy)
        self._nats.server.start()

    def set_back(self) -> None:
        self._nats.server.stop()
        shutil.rmtree(self._files)
        shutil.copytree(self._copy, self._files)
        self._nats.server.start()

    def lose(self) -> None:
        self._nats.server.stop()
        shutil.rmtree(self._files)
        self._nats.server.start()


async def test_a_relay_that_crashes_again_and_again_loses_nothing(database: Database, nats: NatsServer) -> None:
    broker, chance = nats_broker(nats.url), random.Random(1)
    async with opened(database) as outbox:
        writer = Writer(outbox)
        for _ in range(12):
            async with running(database, broker) as relay:
                if chance.random() < 0.7:
                    await relay.publishing()
                    await writer.wrote(chance.randrange(1, 200))
                else:
                    await asyncio.sleep(chance.random() / 10)  # anywhere on its way there
                await relay.crash()
        async with running(database, broker):
            rows = await writer.stop()
            assert first_seen(await published(broker, rows)) == rows


async def test_rows_of_the_last_second_are_sent_again_after_a_crash(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "CHECKPOINT_SECONDS", 3600)
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            rows = await outbox.add()
            await outbox.checkpointed(rows[0])
            confirmed = await eventually(outbox.confirmed)
            rows += await outbox.add(3)  # no checkpoint covers these
            await published(broker, rows)
            await relay.crash()
        assert await outbox.confirmed() == confirmed
        Store(nats).lose()
        await outbox.slot_is_free()
        async with running(database, broker):
            assert set(await published(broker, rows)) == set(rows)


async def test_a_broker_that_restarts_loses_nothing(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker) as relay:
        writer = Writer(outbox)
        for _ in range(3):
            await relay.publishing()
            await writer.wrote(200)
            nats.server.kill()
            await relay.waiting("NATS")
            await writer.wrote(50)
            nats.server.start()
        rows = await writer.stop()
        assert first_seen(await published(broker, rows)) == rows


async def test_a_broker_that_lost_its_store_gets_everything_again(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker) as relay:
        await relay.publishing()
        rows = await outbox.add(1500)
        await published(broker, rows)
        await outbox.checkpointed(rows[-1])
        Store(nats).lose()
        assert await published(broker, rows) == rows
        await relay.publishing()
        assert metric("relay_broker_tail_lost_total", database) == 1
        assert (await outbox.checkpoints())[-1] == (rows[-1], 1500)
        rows += await outbox.add(3)
        assert await published(broker, rows) == rows


async def test_a_stream_that_is_deleted_while_nothing_happens_gets_everything_again(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "LAG_SECONDS", 0.1)
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker) as relay:
        await relay.publishing()
        rows = await outbox.add(3)
        await published(broker, rows)
        await outbox.checkpointed(rows[-1])
        async with connect(NatsAddress(nats.url, FTGO)) as connection:
            await connection.jetstream.delete_stream(STREAM)
        assert await published(broker, rows) == rows


async def test_a_store_that_was_set_back_gets_what_it_lost(database: Database, nats: NatsServer) -> None:
    broker, store = nats_broker(nats.url), Store(nats)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            # Covered by the checkpoint that survives: these are not published again.
            old = await outbox.add(10)
            await outbox.checkpointed(old[-1])
            open_meanwhile = outbox.service.transaction()
            await open_meanwhile.start()
            early_and_late = await outbox.add()
            async with outbox.another_connection() as other:
                kept = await outbox.add(10, connection=other)
            await published(broker, old + kept)
            await outbox.checkpointed(kept[-1])
            store.copy()
            await relay.waiting("NATS")
            await relay.publishing()
            await open_meanwhile.commit()
            lost = await outbox.add(10)
            await published(broker, early_and_late + lost)
            await outbox.checkpointed(lost[-1])
            lost += await outbox.add(10)
            await published(broker, lost)
            await relay.stop()
        store.set_back()
        assert ids(await stored(broker)) == old + kept
        await outbox.slot_is_free()
        already = metric("relay_published_total", database)
        async with running(database, broker) as relay:
            await relay.publishing()
            more = await outbox.add(2)
            found = await published(broker, [*old, *kept, *early_and_late, *lost, *more])
            assert first_seen(found) == old + kept + early_and_late + lost + more
            # The old ones were not published again, to be dropped as repeats.
            assert metric("relay_published_total", database) - already == len([*kept, *early_and_late, *lost, *more])
            assert metric("relay_broker_tail_lost_total", database) == 1


@pytest.mark.parametrize("step", [timedelta(hours=-6), timedelta(hours=6)], ids=["back", "forward"])
@pytest.mark.parametrize("whole", [False, True], ids=["set back", "lost"])
async def test_a_clock_that_was_set_does_not_hide_what_a_broker_has_lost(
    database: Database, nats: NatsServer, step: timedelta, whole: bool
) -> None:
    broker, store = nats_broker(nats.url), Store(nats)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            kept = await outbox.add(5)
            await published(broker, kept)
            await outbox.checkpointed(kept[-1])
            store.copy()
            await relay.waiting("NATS")
            await relay.publishing()
            # From here on PostgreSQL's clock says something else.
            lost = await outbox.add(5, created_at=datetime.now(UTC) + step)
            await published(broker, lost)
            await outbox.checkpointed(lost[-1])
            await relay.stop()
        if whole:
            store.lose()
        else:
            store.set_back()
        await outbox.slot_is_free()
        async with running(database, broker):
            assert first_seen(await published(broker, kept + lost)) == kept + lost


async def test_checkpoints_of_before_the_horizons_make_it_publish_more_and_not_less(
    database: Database, nats: NatsServer
) -> None:
    broker, store = nats_broker(nats.url), Store(nats)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            kept = await outbox.add(5)
            await published(broker, kept)
            await outbox.checkpointed(kept[-1])
            store.copy()
            await relay.waiting("NATS")
            await relay.publishing()
            lost = await outbox.add(5, created_at=datetime.now(UTC) - timedelta(hours=6))
            await published(broker, lost)
            await outbox.checkpointed(lost[-1])
            await relay.stop()
        async with migrations(database) as owner:
            await owner.execute("update relay_checkpoints set horizon = null, server = null")
        store.set_back()
        await outbox.slot_is_free()
        async with running(database, broker):
            assert first_seen(await published(broker, kept + lost)) == kept + lost


async def test_a_crash_while_it_publishes_again_loses_nothing(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            first = await outbox.add(700)
            await published(broker, first)
            await outbox.checkpointed(first[-1])
            second = await outbox.add(700)
            await published(broker, second)
            await relay.stop()
        Store(nats).lose()
        await outbox.slot_is_free()
        chunks = [1, 2]
        publish = relay_module.Relay._publish

        async def crash_after_two(self: relay_module.Relay, rows: object, log: object) -> object:
            if not chunks:
                await asyncio.Event().wait()
            chunks.pop()
            return await publish(self, rows, log)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(relay_module.Relay, "_publish", crash_after_two)
            async with running(database, broker) as relay:
                await published(broker, first)
                await relay.crash()
        assert len(await stored(broker)) < 1400
        await outbox.slot_is_free()
        async with running(database, broker):
            assert first_seen(await published(broker, first + second)) == first + second


async def test_a_crash_while_it_publishes_again_is_not_taken_for_the_end_of_it(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By chance the checkpoint's message gets its old place again, before messages that were once in front of it."""
    monkeypatch.setattr(relay_database, "CHUNK_ROWS", 1)
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            transaction = outbox.service.transaction()
            await transaction.start()
            last = await outbox.add()
            async with outbox.another_connection() as other:
                first = await outbox.add(3, connection=other)
            await transaction.commit()
            assert await published(broker, first + last) == first + last
            await relay.stop()
        assert (await outbox.checkpoints())[-1] == (last[0], 4)
        Store(nats).lose()
        async with broker.connect() as log:  # another service's relay is quicker
            other_service = [
                Publication(row_id=f"x-{number}", subject=f"0.{ROUTE}", headers={}, data="") for number in range(3)
            ]
            assert await log.publish(other_service) == [1, 2, 3]
        await outbox.slot_is_free()
        publish, chunks = relay_module.Relay._publish, [1]

        async def crash_after_one(self: relay_module.Relay, rows: object, log: object) -> object:
            if not chunks:
                await asyncio.Event().wait()
            chunks.pop()
            return await publish(self, rows, log)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(relay_module.Relay, "_publish", crash_after_one)
            async with running(database, broker) as relay:

                async def one_is_there() -> bool:
                    return [message.row_id for message in await stored(broker)][3:] == [f"order-{last[0]}"]

                await eventually(one_is_there)
                await relay.crash()
        await outbox.slot_is_free()
        async with running(database, broker) as relay:
            await relay.publishing()
            found = [message.row_id for message in await stored(broker)][3:]
            assert set(found) == {f"order-{number}" for number in first + last}


async def test_checkpoints_of_another_server_do_not_hide_our_own(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        # A dump of this database was loaded into a new server, whose log begins anew; the broker is the same.
        async with broker.connect() as log:
            await log.publish([Publication(row_id="order-999", subject=f"0.{ROUTE}", headers={}, data="")])
        await outbox.relay.execute("insert into relay_checkpoints values (999, 'FFFF/0', 1, now() - interval '1 day')")
        rows = await outbox.add(3)
        async with running(database, broker) as relay:
            await relay.publishing()
            rows += await outbox.add(3)
            assert await published(broker, rows) == [999, *rows]
            await relay.stop()
        newest = await outbox.relay.fetchval("select row_id from relay_checkpoints order by lsn desc limit 1")
        assert newest == rows[-1]


async def test_checkpoints_that_are_gone_make_it_publish_everything_again(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            rows = await outbox.add(3)
            await published(broker, rows)
            await relay.stop()
        await outbox.relay.execute("delete from relay_checkpoints")
        Store(nats).lose()
        async with running(database, broker):
            assert await published(broker, rows) == rows


@pytest.mark.parametrize("part", ["reading", "reporting", "pulse"])
async def test_what_fails_in_the_background_ends_the_relay(
    part: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise IndexError("bug")

    async with opened(database) as outbox:
        with pytest.raises(IndexError, match="bug"):
            async with running(database, GatedBroker()) as relay:
                await relay.publishing()
                if part == "reading":
                    monkeypatch.setattr(pgoutput.Decoder, "decode", fail)
                    await outbox.add()
                elif part == "reporting":
                    monkeypatch.setattr(extras.ReplicationCursor, "send_feedback", fail)
                else:
                    monkeypatch.setattr(relay_module.Pulse, "_feel", fail)
                await asyncio.wait([relay.task])


async def test_a_publish_error_advances_nothing(database: Database) -> None:
    broker = GatedBroker()
    async with opened(database) as outbox, running(database, broker) as relay:
        await relay.publishing()
        rows = await outbox.add(2)
        await outbox.checkpointed(rows[-1])
        confirmed, checkpoints = await outbox.confirmed(), await outbox.checkpoints()
        broker.failures = 3
        rows += await outbox.add(5)

        async def failing() -> bool:
            return broker.failures == 1

        await eventually(failing)
        assert (await outbox.confirmed(), await outbox.checkpoints()) == (confirmed, checkpoints)
        assert await published(broker, rows) == rows
        assert broker.connections >= 4  # each failure ends the connection


async def test_a_message_that_has_expired_is_not_a_lost_one(database: Database, nats: NatsServer) -> None:
    options = dataclasses.replace(OPTIONS, stream_max_age=timedelta(0))
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        async with running(database, broker, options) as relay:
            await relay.publishing()
            rows = await outbox.add(3)
            await published(broker, rows)
            await relay.stop()
        async with broker.connect() as log:
            await log._connection.jetstream.purge_stream("FTGO")  # as max_age would, days later
        await outbox.slot_is_free()
        async with running(database, broker, options) as relay:
            await relay.publishing()
            assert metric("relay_broker_tail_lost_total", database) == 0
            more = await outbox.add(1)
            assert await published(broker, more) == more
