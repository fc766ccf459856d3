"""What a service forgets, what it must not forget, and what it tells Prometheus."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from shared.adapters.postgres.database import PostgresDatabase
from shared.host import housekeeping
from shared.host.housekeeping import Housekeeping, Retention
from shared.host.provision import Database
from shared.telemetry import metrics
from tests.support.infra import Infra
from tests.support.schema import make_framework_tables

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def provisioned(infra: Infra) -> Iterator[Database]:
    with infra.database("order") as database:
        make_framework_tables(database)
        yield database


@asynccontextmanager
async def kept_house(database: Database) -> AsyncIterator[tuple[Housekeeping, Any]]:
    """Housekeeping on empty tables, and a connection to look at them."""
    engine = PostgresDatabase(database.url)
    connection = await asyncpg.connect(database.migrations_url)
    try:
        tables = "inbox, idempotency_keys, subscription_checkpoints, set_aside, sagas, events, outbox, clock_readings"
        await connection.execute(f"truncate {tables}")
        yield Housekeeping(engine.engine, Retention(inbox=8 * DAY, sagas=16 * DAY, idempotency=DAY)), connection
    finally:
        await connection.close()
        await engine.close()


async def column(connection: Any, query: str) -> list[Any]:
    return [row[0] for row in await connection.fetch(query)]


async def test_old_messages_are_forgotten_unless_they_still_wait(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await connection.execute("""
            insert into inbox (message_id, row_id, handled_at) values
                ('new', 'r', now() - interval '7 days'),
                ('old', 'r', now() - interval '9 days'),
                ('waits', 'r', now() - interval '9 days');
            insert into set_aside
                (partition, key, source, message_id, row_id, headers, data, set_aside_at, retry_at, parked_at)
                values (0, 'k', 's', 'waits', 'r', '{}', '', now(), now(), now())
        """)
        await house.once()
        assert await column(connection, "select message_id from inbox order by 1") == ["new", "waits"]


async def test_old_idempotency_keys_are_forgotten(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await connection.execute("""
            insert into idempotency_keys values
                ('new', 1, '', '{}', now() - interval '23 hours'), ('old', 1, '', '{}', now() - interval '25 hours')
        """)
        await house.once()
        assert await column(connection, "select id from idempotency_keys") == ["new"]


async def test_sagas_are_forgotten_long_after_their_end_and_never_before_it(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await connection.execute("""
            insert into sagas
                select id, 1, 't', 'k', '{}', 0, phase, null, '', 0, 0, due_at, stuck, '', '',
                    now() - interval '18 days', updated_at
                from (values
                    ('just done', 'completed', null::timestamptz, false, now() - interval '15 days'),
                    ('long done', 'completed', null, false, now() - interval '17 days'),
                    ('long undone', 'undone', null, false, now() - interval '17 days'),
                    ('on its way', 'forward', now(), false, now() - interval '17 days'),
                    ('stuck', 'undoing', null, true, now() - interval '17 days')
                ) as s(id, phase, due_at, stuck, updated_at)
        """)
        await house.once()
        assert await column(connection, "select id from sagas order by id") == ["just done", "on its way", "stuck"]


async def test_what_is_parked_is_never_forgotten(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await connection.execute("""
            insert into set_aside
                (partition, key, source, message_id, row_id, headers, data, set_aside_at, retry_at, parked_at)
                select 0, 'k', 's', 'old', 'r', '{}', '', at, at, at from (select now() - interval '1 year' as at)
        """)
        await house.once()
        assert await column(connection, "select message_id from set_aside") == ["old"]


async def test_a_round_takes_no_longer_after_weeks_of_work(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await connection.execute("""
            insert into subscription_checkpoints (partition, position, message_id, message_at, at)
            select 0, 1e9 - n, 'm', now(), now() - n * interval '1 minute' from generate_series(1, 8 * 1440 - 1) n
        """)
        await house.once()  # comparing each with each would take longer than a statement may
        assert await column(connection, "select count(*) from subscription_checkpoints") == [8 * 1440 - 1]


async def test_all_that_is_old_goes_however_much_it_is(provisioned: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_BATCH_ROWS", 10)
    async with kept_house(provisioned) as (house, connection):
        await connection.execute(
            "insert into inbox select n::text, 'r', null, now() - interval '9 days' from generate_series(1, 35) n"
        )
        await house.once()
        assert await column(connection, "select count(*) from inbox") == [0]


@pytest.mark.parametrize("days", [-2, 1], ids=["dated ahead", "young"])
async def test_what_is_old_is_found_behind_anything(
    provisioned: Database, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    monkeypatch.setattr(housekeeping, "_BATCH_ROWS", 10)
    async with kept_house(provisioned) as (house, connection):
        await connection.execute(f"""
            insert into inbox select 'a' || n, 'r', null, now() - interval '{days} days' from generate_series(1, 25) n;
            insert into inbox select 'b' || n, 'r', null, now() - interval '9 days' from generate_series(1, 25) n;
            insert into inbox select 'c' || n, 'r', null, now() from generate_series(1, 5) n;
        """)
        for _ in range(6):
            await house.once()
        assert await column(connection, "select count(*) from inbox where message_id like 'b%'") == [0]
        assert await column(connection, "select count(*) from inbox") == [30]


async def test_nothing_is_old_because_a_clock_was_set(provisioned: Database) -> None:
    """Ten days ahead since a message was handled; or it was handled while the clock was ten days behind."""
    async with kept_house(provisioned) as (house, connection):
        await house.once()
        await connection.execute("""
            insert into inbox values ('handled just now', 'r', null, now() - interval '10 days');
            insert into idempotency_keys values ('new', 1, '', '{}', now() - interval '10 days');
            update clock_readings set earliest = earliest - interval '10 days', latest = latest - interval '10 days';
        """)
        await house.once()
        await house.once()
        assert await column(connection, "select message_id from inbox") == ["handled just now"]
        assert await column(connection, "select id from idempotency_keys") == ["new"]
        assert await column(connection, "select sum(lived) < interval '1 minute' from clock_readings") == [True]
        # The service has run on for two days, and then for seven more.
        run_on = "insert into clock_readings select max(id) + 1, {}, now(), now() from clock_readings"
        await connection.execute(run_on.format("interval '2 days'"))
        await house.once()
        assert await column(connection, "select message_id from inbox") == ["handled just now"]
        assert await column(connection, "select id from idempotency_keys") == []
        await connection.execute(run_on.format("interval '7 days'"))
        await house.once()
        assert await column(connection, "select message_id from inbox") == []


async def test_time_that_the_service_did_not_run_makes_nothing_old(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        for latest in ("now() - interval '1 year'", "now() + interval '1 year'", "now() - interval '3 seconds'"):
            await house.once()
            await connection.execute(f"update clock_readings set latest = {latest}")
        await house.once()
        lived = (await column(connection, "select sum(lived) from clock_readings"))[0]
        assert timedelta(seconds=33) <= lived < timedelta(seconds=33) + timedelta(minutes=1)


async def test_readings_of_the_clock_are_kept_for_as_long_as_anything(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await connection.execute(
            "insert into clock_readings select n, '1 hour', now(), now() from generate_series(1, 1000) n"
        )
        await house.once()
        kept = (await column(connection, "select count(*) from clock_readings"))[0]
        assert 16 * 24 <= kept <= 16 * 24 + 2
        assert (await column(connection, "select max(id) from clock_readings"))[0] == 1001


async def test_the_older_checkpoints_are_the_further_they_are_apart(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await connection.execute("""
            insert into subscription_checkpoints (partition, position, message_id, message_at, at)
            select partition, 1000 - n, 'm', now(), date_trunc('minute', now()) - n * interval '1 second'
            from generate_series(0, 899) n, generate_series(0, 1) partition
        """)
        await connection.execute("""
            insert into subscription_checkpoints (partition, position, message_id, message_at, at)
            values (0, 1, 'm', now(), now() - interval '9 days')
        """)
        await house.once()
        for partition in (0, 1):
            recent = await column(
                connection,
                "select count(*) from subscription_checkpoints where at > now() - interval '10 minutes'"
                f" and partition = {partition}",
            )
            older = await column(
                connection,
                "select count(*) from subscription_checkpoints where at < now() - interval '10 minutes'"
                f" and partition = {partition} group by date_trunc('minute', at)",
            )
            assert recent[0] >= 530
            assert 4 <= len(older) <= 6
            assert older.count(1) >= len(older) - 1, "but for the minute that the ten minutes cut in two"
        assert await column(connection, "select min(position) from subscription_checkpoints where partition = 0") != [1]


async def test_what_waits_for_an_operator_is_seen(provisioned: Database) -> None:
    async with kept_house(provisioned) as (house, connection):
        await house.measure()
        before = metrics.PARKED._value.get(), metrics.STUCK_SAGAS._value.get()
        assert before == (0, 0)
        await connection.execute("""
            insert into set_aside
                (partition, key, source, message_id, row_id, headers, data, set_aside_at, retry_at, parked_at) values
                (0, 'k', 's', 'parked', 'r', '{}', '', now(), now(), now()),
                (0, 'k', 's', 'behind it', 'r', '{}', '', now(), now(), null),
                (0, 'k', 'another sender', 'waits', 'r', '{}', '', now(), now(), null);
            insert into sagas
                select id, 1, 't', 'k', '{}', 0, 'forward', null, '', 0, 0, due_at, stuck, '', '', started_at, now()
                from (values
                    ('stuck', null, true, now() - interval '1 hour'),
                    ('on its way', now(), false, now() - interval '2 hours'),
                    ('done', null, false, now() - interval '1 day')
                ) as s(id, due_at, stuck, started_at)
        """)
        await house.measure()
        assert metrics.PARKED._value.get() == 2
        assert metrics.STUCK_SAGAS._value.get() == 1
        assert 7200 <= metrics.OLDEST_SAGA._value.get() < 86400
