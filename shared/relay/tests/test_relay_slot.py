"""The relay's slot and the log: made without a gap, confirmed no sooner than it may be, and read anew when lost."""

import asyncio
import dataclasses
from contextlib import closing

import asyncpg
import psycopg2
import pytest

from shared.host.provision import Database
from shared.relay import relay as relay_module
from shared.relay import replication
from shared.relay.pgoutput import parse_lsn
from shared.relay.relay import Pulse, Stalled
from shared.relay.tests.support import (
    OPTIONS,
    GatedBroker,
    Outbox,
    Writer,
    eventually,
    first_seen,
    metric,
    nats_broker,
    opened,
    published,
    running,
    stored,
)
from tests.support.infra import Infra, NatsServer


async def is_being_made(outbox: Outbox) -> bool:
    """Whether there is a slot that waits for transactions that were open when it was begun."""
    return bool(
        await outbox.relay.fetchval(
            "select count(*) from pg_replication_slots where slot_name = $1", f"{outbox.slot}_new"
        )
    )


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
            await eventually(lambda: is_being_made(outbox))
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
            await eventually(lambda: is_being_made(outbox))
            await relay.crash()
            await outbox.slot_is_free()
            assert not await is_being_made(outbox), "the temporary slot went with its session"
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


async def test_an_idle_slot_advances(database: Database, nats: NatsServer) -> None:
    options = dataclasses.replace(OPTIONS, wal_sender_timeout=2)
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker, options) as relay:
        await relay.publishing()
        for _ in range(2):
            before = await outbox.confirmed()
            await outbox.service.execute(
                "insert into inbox select gen_random_uuid(), 'x' from generate_series(1, 1000)"
            )
            end = await outbox.log_end()

            async def advanced(end: int = end) -> bool:
                return await outbox.confirmed() >= end

            await eventually(advanced)
            assert before < end <= await outbox.confirmed()
        assert await stored(broker) == [], "it was idle: there was nothing to publish"


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
