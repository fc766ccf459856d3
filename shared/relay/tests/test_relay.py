"""What the relay publishes, in which order, and how it is seen from outside."""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from kernel.topology import FTGO
from shared.adapters.postgres import schema
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database
from shared.messaging.envelope import partition_of
from shared.relay import pgoutput as outbox_package
from shared.relay import relay as relay_module
from shared.relay import replication
from shared.relay.tests.support import (
    OPTIONS,
    GatedBroker,
    eventually,
    metric,
    nats_broker,
    opened,
    published,
    running,
    stored,
)
from tests.support.infra import Infra, NatsServer
from tests.support.old_data import run_sql, touched_by_the_next_release
from tests.support.schema import make_framework_tables


def test_the_publication_has_the_name_that_the_migrations_give_it() -> None:
    assert schema.PUBLICATION == outbox_package.PUBLICATION


async def test_rows_are_published_in_the_order_of_their_commits(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, outbox.another_connection() as other, running(database, broker) as relay:
        await relay.publishing()
        late, rolled_back = outbox.service.transaction(), other.transaction()
        await late.start()
        [first_written] = await outbox.add()
        async with outbox.another_connection() as early:
            committed_first = await outbox.add(2, connection=early)
            await rolled_back.start()
            never = await outbox.add(connection=other)
            await rolled_back.rollback()
            committed_second = await outbox.add(connection=early)
            await published(broker, committed_second)  # the relay has passed what is not committed
        await late.commit()
        expected = [*committed_first, *committed_second, first_written]
        assert await published(broker, expected) == expected
        assert first_written < committed_first[0] < never[0]


async def test_the_data_of_a_newer_release_are_left_alone(database: Database, nats: NatsServer) -> None:
    touched_by_the_next_release(database.migrations_url, beside=FTGO.releases.current.number + 1)
    async with opened(database) as outbox, running(database, nats_broker(nats.url)) as relay:
        await outbox.add()
        await relay.waiting("the data of order is from a newer version (next)")
        run_sql(database.migrations_url, "delete from releases")
        await relay.publishing()


async def test_a_message_is_what_its_row_says(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url, partitions=8)
    options = dataclasses.replace(OPTIONS, partitions=8)
    headers = {"ce-id": "m1", "ce-partitionkey": "Zoë", "traceparent": "00-ab-cd-01"}
    async with opened(database) as outbox, running(database, broker, options):
        [row_id] = await outbox.add(key="Zoë", headers=headers, data='{"pizza":"🍕"}', subject="reply.order")
        await outbox.checkpointed(row_id)
        [message] = await stored(broker, partition_of("Zoë", 8), ["reply.order"])
    assert message.row_id == f"order-{row_id}"
    assert message.headers == {"Nats-Msg-Id": f"order-{row_id}", **headers}
    assert message.data == '{"pizza":"🍕"}'


async def test_a_first_start_publishes_what_is_in_the_outbox(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        old = await outbox.add(1200)
        async with running(database, broker) as relay:
            await relay.publishing()
            new = await outbox.add(3)
            assert await published(broker, new) == old + new


async def test_a_transaction_larger_than_the_buffer(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "BUFFER_ROWS", 50)
    monkeypatch.setattr(relay_module, "BATCH_ROWS", 20)
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker) as relay:
        await relay.publishing()
        rows = await outbox.add(1010)
        assert await published(broker, rows) == rows
        await outbox.checkpointed(rows[-1])
        assert (await outbox.checkpoints())[-1] == (rows[-1], 1010)


async def test_it_waits_for_the_service_to_migrate_and_says_so_once(
    new_database: Callable[[str | ServiceInfo], Database], nats: NatsServer
) -> None:
    database, broker = new_database("order"), nats_broker(nats.url)
    with capture_logs() as logs:
        async with running(database, broker) as relay:
            await relay.waiting("its service has not migrated it")
            told = relay.relay.status.waiting_for
            # Some more tries: it logs none of them.
            await eventually(_count(relay.relay.status, "waiting", 3))
            assert [line["reason"] for line in logs] == [told]
            make_framework_tables(database)
            await relay.publishing()
            async with opened(database) as outbox:
                rows = await outbox.add(2)
                assert await published(broker, rows) == rows


async def test_it_waits_for_servers_that_are_not_there(database: Database, infra: Infra, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    nats.server.stop()
    async with opened(database) as outbox:
        rows = await outbox.add(2)
    infra.postgres.stop()
    async with running(database, broker) as relay:
        try:
            await relay.waiting("PostgreSQL: ")
        finally:
            infra.postgres.start()
        await relay.waiting("NATS: ")
        assert metric("relay_connected", database) == 0
        nats.server.start()
        await relay.publishing()
        assert metric("relay_connected", database) == 1
        assert await published(broker, rows) == rows


async def test_a_stop_confirms_what_was_published(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        async with running(database, broker) as relay:
            await relay.publishing()
            before = await outbox.log_end()
            rows = await outbox.add(5)
            await published(broker, rows)
            await relay.stop()
        assert (await outbox.checkpoints())[-1] == (rows[-1], 5)
        await outbox.slot_is_free()
        assert await outbox.confirmed() > before


async def test_a_row_that_the_broker_never_accepts_is_passed_over_loudly(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    with capture_logs() as logs:
        async with opened(database) as outbox, running(database, broker) as relay:
            await relay.publishing()
            async with outbox.service.transaction():
                before = await outbox.add()
                too_large = await outbox.add(data="x" * (5 << 20))
                no_headers = await outbox.add(headers="no JSON")
                no_subject = await outbox.add(subject="event. .x")
                after = await outbox.add()
            assert await published(broker, [*before, *after]) == [*before, *after]
            await outbox.checkpointed(after[0])
            refused = [*too_large, *no_headers, *no_subject]
            assert [line["row_id"] for line in logs if line["log_level"] == "error"] == refused
            assert metric("relay_refused_total", database) == 3
            assert metric("relay_published_total", database) == 2
            assert set(refused) <= set(await outbox.ids())  # to be looked at


async def test_old_rows_go_when_they_have_been_published(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "HOUSEKEEPING_SECONDS", 0.05)
    monkeypatch.setattr(relay_module, "PURGE_ROWS", 10)
    options = dataclasses.replace(OPTIONS, outbox_retention=timedelta(hours=1))
    broker = nats_broker(nats.url)
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    async with opened(database) as outbox:
        old = await outbox.add(25, created_at=long_ago)
        async with running(database, broker, options) as relay:
            await relay.publishing()
            young = await outbox.add(3)

            async def gone() -> bool:
                return await outbox.ids() == young

            await eventually(gone)
            assert await published(broker, young) == old + young


async def test_a_second_relay_waits_and_takes_over(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox, running(database, broker) as first:
        await first.publishing()
        async with running(database, broker) as second:
            await second.waiting("is active")
            rows = await outbox.add(3)
            assert await published(broker, rows) == rows
            await first.crash()
            await second.publishing()
            more = await outbox.add(3)
            assert await published(broker, more) == rows + more


async def test_two_relays_that_start_at_once_make_one_slot(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        rows = await outbox.add(2000)
        async with running(database, broker) as first, running(database, broker) as second:

            async def one_publishes() -> bool:
                return None in (first.relay.status.waiting_for, second.relay.status.waiting_for)

            await eventually(one_publishes)
            rows += await outbox.add(3)
            assert await published(broker, rows) == rows
            assert metric("relay_published_total", database) == len(rows)  # by one of them


async def test_lag_is_reported(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "LAG_SECONDS", 0.05)
    broker = GatedBroker()
    async with opened(database) as outbox, running(database, broker) as relay:
        await relay.publishing()
        broker.open.clear()
        rows = await outbox.add(2)

        async def behind() -> bool:
            return metric("relay_lag_seconds", database) > 0

        await eventually(behind)
        broker.open.set()
        await published(broker, rows)

        async def caught_up() -> bool:
            return metric("relay_lag_seconds", database) == 0

        await eventually(caught_up)
        await outbox.service.execute(
            "insert into inbox (message_id, row_id) select i, '' from generate_series(1, 100) i"
        )

        async def lag() -> bool:
            return metric("relay_lag_bytes", database) > 0

        await eventually(lag)
        assert metric("relay_lag_seconds", database) == 0, "nothing of it is for the relay to publish"


def _count(owner: object, method: str, times: int) -> Callable[[], Awaitable[bool]]:
    """A condition: the method has been called so often from now on."""
    original, calls = getattr(owner, method), []

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return original(*arguments)

    setattr(owner, method, counted)

    async def enough() -> bool:
        return len(calls) >= times

    return enough
