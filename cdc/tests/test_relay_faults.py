"""Nothing is lost, whatever dies: the relay, the broker, its store, the slot."""

import asyncio
import dataclasses
import random
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import asyncpg
import psycopg2
import pytest
from prometheus_client import REGISTRY

from cdc.tests.support import (
    OPTIONS,
    ROUTE,
    GatedBroker,
    Outbox,
    eventually,
    first_seen,
    ids,
    nats_broker,
    opened,
    published,
    running,
    stored,
)
from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.nats.stream import STREAM
from shared.adapters.postgres import relay_database, replication
from shared.adapters.postgres.pgoutput import parse_lsn
from shared.messaging.broker import Publication
from shared.outbox import relay as relay_module
from shared.outbox.relay import REACH_BACK, Pulse, Stalled
from shared.runtime.provision import Database
from shared.testing.infra import Infra, NatsServer, Server


def metric(name: str, database: Database) -> float:
    return REGISTRY.get_sample_value(name, {"database": database.name}) or 0.0


class Writer:
    """Commits some hundred rows a second, in transactions of one or more, until it is told to stop."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._stopping = False
        self.committed: list[int] = []
        self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        async with self._outbox.another_connection() as connection:
            for count in cycle((1, 1, 7, 1)):
                if self._stopping:
                    return
                self.committed += await self._outbox.add(count, connection=connection)
                await asyncio.sleep(0.005)

    async def wrote(self, count: int) -> None:
        """Wait until so many more rows have been committed."""
        goal = len(self.committed) + count

        async def reached() -> bool:
            return len(self.committed) >= goal

        await eventually(reached)

    async def stop(self) -> list[int]:
        self._stopping = True
        await self._task
        return self.committed


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
        async with connect(NatsAddress(nats.url)) as connection:
            await connection.jetstream.delete_stream(STREAM)
        assert await published(broker, rows) == rows


async def test_a_store_that_was_set_back_gets_what_it_lost(database: Database, nats: NatsServer) -> None:
    broker, store = nats_broker(nats.url), Store(nats)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            # Created long before the checkpoint that survives: these are not published again.
            old = await outbox.add(10, created_at=datetime.now(UTC) - 2 * REACH_BACK)
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
                Publication(row_id=f"x-{number}", subject=f"ftgo.0.{ROUTE}", headers={}, data="") for number in range(3)
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
            await log.publish([Publication(row_id="order-999", subject=f"ftgo.0.{ROUTE}", headers={}, data="")])
        await outbox.relay.execute("insert into relay_checkpoints values (999, 'FFFF/0', 1, now() - interval '1 day')")
        rows = await outbox.add(3)
        async with running(database, broker) as relay:
            await relay.publishing()
            rows += await outbox.add(3)
            assert await published(broker, rows) == [999, *rows]
            await relay.stop()
        newest = await outbox.relay.fetchval("select row_id from relay_checkpoints order by lsn desc limit 1")
        assert newest == rows[-1]


async def test_a_dropped_slot_is_made_again_without_a_gap(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        writer = Writer(outbox)
        for drops in range(4):
            async with running(database, broker) as relay:
                await relay.publishing()
                assert metric("relay_slot_rebuilt_total", database) == drops
                await writer.wrote(100)
                await relay.crash()
            await outbox.slot_is_free()
            await outbox.relay.execute("select pg_drop_replication_slot($1)", outbox.slot)
            await writer.wrote(100)  # nothing remembers these but the table
        async with running(database, broker):
            await writer.wrote(100)
            rows = await writer.stop()
            assert first_seen(await published(broker, rows)) == rows


async def test_a_transaction_that_is_open_while_the_slot_is_made(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        transaction = outbox.service.transaction()
        await transaction.start()
        rows = await outbox.add()
        async with running(database, broker) as relay:

            async def waits_for_it() -> bool:
                return bool(
                    await outbox.relay.fetchval(
                        "select count(*) from pg_replication_slots where slot_name = $1", f"{outbox.slot}_new"
                    )
                )

            await eventually(waits_for_it)
            async with outbox.another_connection() as other:
                rows += await outbox.add(connection=other)
            await transaction.commit()
            await relay.publishing()
            assert set(await published(broker, rows)) == set(rows)


async def test_a_stop_is_not_held_up_by_a_transaction_that_the_slot_waits_for(
    database: Database, nats: NatsServer
) -> None:
    async with opened(database) as outbox:
        transaction = outbox.service.transaction()
        await transaction.start()
        await outbox.add()
        async with running(database, nats_broker(nats.url)) as relay:

            async def waits_for_it() -> bool:
                return bool(
                    await outbox.relay.fetchval(
                        "select count(*) from pg_replication_slots where slot_name = $1", f"{outbox.slot}_new"
                    )
                )

            await eventually(waits_for_it)
            await relay.crash()
            await outbox.slot_is_free()
            assert not await waits_for_it(), "the temporary slot went with its session"
        await transaction.rollback()


async def test_a_crash_while_the_slot_is_made_leaves_no_slot_with_a_gap(database: Database) -> None:
    broker = GatedBroker()
    broker.open.clear()
    async with opened(database) as outbox:
        rows = await outbox.add(20)
        async with running(database, broker) as relay:

            async def publishing() -> bool:
                return bool(broker.batches)

            await eventually(publishing)
            await relay.crash()
        await outbox.slot_is_free()
        assert await outbox.confirmed() == 0
        broker.open.set()
        async with running(database, broker):
            assert await published(broker, rows) == rows


async def test_a_slot_whose_log_was_removed_is_made_again(database: Database, nats: NatsServer, infra: Infra) -> None:
    broker = nats_broker(nats.url)
    with closing(psycopg2.connect(infra.admin_url)) as admin:
        admin.autocommit = True
        async with opened(database) as outbox:
            async with running(database, broker) as relay:
                await relay.publishing()
                rows = await outbox.add(3)
                await published(broker, rows)
                await relay.stop()
            await outbox.slot_is_free()
            rows += await outbox.add(3)
            with admin.cursor() as cursor:
                cursor.execute("alter system set max_slot_wal_keep_size = '1MB'")
                cursor.execute("select pg_reload_conf()")
                try:

                    async def lost() -> bool:
                        await outbox.service.execute("insert into inbox select gen_random_uuid(), 'x'")
                        cursor.execute("select pg_switch_wal()")
                        cursor.execute("checkpoint")
                        cursor.execute(
                            "select wal_status from pg_replication_slots where slot_name = %s", [outbox.slot]
                        )
                        return cursor.fetchone() == ("lost",)

                    await eventually(lost)
                finally:
                    cursor.execute("alter system reset max_slot_wal_keep_size")
                    cursor.execute("select pg_reload_conf()")
            async with running(database, broker) as relay:
                await relay.publishing()
                rows += await outbox.add(3)
                assert first_seen(await published(broker, rows)) == rows
                assert metric("relay_slot_rebuilt_total", database) == 1


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


async def test_an_idle_slot_advances(database: Database, nats: NatsServer) -> None:
    options = dataclasses.replace(OPTIONS, wal_sender_timeout=2)
    async with opened(database) as outbox, running(database, nats_broker(nats.url), options) as relay:
        await relay.publishing()
        for _ in range(2):
            await outbox.service.execute(
                "insert into inbox select gen_random_uuid(), 'x' from generate_series(1, 1000)"
            )
            end = await outbox.log_end()

            async def advanced(end: int = end) -> bool:
                return await outbox.confirmed() >= end

            await eventually(advanced)


async def test_commits_that_are_none_of_its_business_do_not_wake_it(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken = 0
    read = replication.LogStream._read

    def counted(stream: replication.LogStream) -> None:
        nonlocal woken
        woken += 1
        read(stream)

    monkeypatch.setattr(replication.LogStream, "_read", counted)
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker) as relay:
        await relay.publishing()
        await published(broker, await outbox.add(1))
        before = woken
        for number in range(200):
            await outbox.service.execute("insert into inbox values ($1, 'x')", str(number))
        await published(broker, await outbox.add(1))
        assert woken - before < 20


async def test_nothing_is_confirmed_before_the_broker_has_it(
    database: Database, infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "BUFFER_ROWS", 2)  # it stops reading, and PostgreSQL must hear of it nevertheless
    monkeypatch.setattr(relay_module, "BATCH_ROWS", 1)
    options = dataclasses.replace(OPTIONS, wal_sender_timeout=2)
    broker, admin = GatedBroker(), await asyncpg.connect(infra.admin_url)
    async with opened(database) as outbox, running(database, broker, options) as relay:
        await relay.publishing()
        broker.open.clear()
        rows = await outbox.add(10)
        await outbox.service.execute("insert into inbox select gen_random_uuid(), 'x' from generate_series(1, 1000)")
        end = await outbox.log_end()

        async def reported_for_longer_than_the_timeout() -> bool:
            """PostgreSQL has heard of the relay, again and again, and keeps its connection."""
            return bool(
                await admin.fetchval(
                    "select count(*) from pg_stat_replication join pg_replication_slots on active_pid = pid"
                    " where slot_name = $1 and reply_time > backend_start + interval '5 seconds'",
                    outbox.slot,
                )
            )

        await eventually(reported_for_longer_than_the_timeout)
        confirmed_meanwhile = await outbox.confirmed()
        assert relay.relay.status.waiting_for is None
        broker.open.set()
        assert await published(broker, rows) == rows

        async def confirmed() -> bool:
            return await outbox.confirmed() >= end

        await eventually(confirmed)
        await outbox.checkpointed(rows[-1])
        committed_at = await outbox.relay.fetchval("select max(lsn)::text from relay_checkpoints")
        assert confirmed_meanwhile < parse_lsn(committed_at)
    await admin.close()


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


async def test_a_relay_that_was_stopped_publishes_nothing_of_what_it_had_read(database: Database) -> None:
    broker, seconds = GatedBroker(), [0.0]
    async with opened(database) as outbox, running(database, broker, clock=lambda: seconds[0]) as relay:
        await relay.publishing()
        connections = broker.connections
        broker.open.clear()
        on_its_way = await outbox.add()

        async def asked() -> bool:
            return broker.batches[-1:] == [(connections, on_its_way)]

        await eventually(asked)
        read_ahead = await outbox.add(3)
        seconds[0] += 20  # more than half of what PostgreSQL waits for a sign of life
        broker.open.set()
        assert await published(broker, read_ahead) == [*on_its_way, *read_ahead]
        # The batch on its way came through; what had been read was read again, on another connection.
        assert all(on > connections for on, batch in broker.batches if set(batch) & set(read_ahead))


async def test_only_standing_still_counts_as_that() -> None:
    seconds, looked = [0.0], asyncio.Event()

    def clock() -> float:
        looked.set()
        return seconds[0]

    async def passes(time: float) -> None:
        looked.clear()
        seconds[0] += time
        await looked.wait()

    pulse = Pulse(clock, limit=0.04)
    beating = asyncio.create_task(pulse.beat())
    for _ in range(3):  # nothing is published meanwhile: the broker takes its time
        await passes(0.03)
    pulse.check()
    await passes(0.05)
    await passes(0.01)
    with pytest.raises(Stalled):
        pulse.check()
    pulse.begin()
    pulse.check()
    beating.cancel()


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


async def test_a_lost_database_session_is_opened_anew(database: Database, nats: NatsServer, infra: Infra) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker) as relay:
        await relay.publishing()
        rows = await outbox.add(2)
        await published(broker, rows)
        admin = await asyncpg.connect(infra.admin_url)
        for pattern in ("%walsender%", "client backend"):
            await admin.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = $1 and usename = $2 and backend_type like $3 and pid != $4",
                database.name, database.service.relay_role, pattern, outbox.relay.get_server_pid(),
            )  # fmt: skip
            rows += await outbox.add(2)
            assert await published(broker, rows) == rows
        await admin.close()
