"""A subscription on real PostgreSQL and NATS: replicas, leases, and what sessions and the broker may lose."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from typing import Any

import asyncpg
import nats
import psycopg2
import pytest

from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.postgres import database as postgres_database
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.clock import utc_now
from shared.core.errors import Conflict
from shared.core.messages import Done
from shared.core.policy import Policy
from shared.host.provision import Database
from shared.messaging.broker import Mark, Publication, subject_of
from shared.processing.command_queue import CommandQueue
from shared.tests.contracts import Balance, Deposit, Heard, WalletId, Withdraw
from shared.tests.listening import HEARD, LEASE, LIMITS, TABLES, Replica, eventually, heard, heard_all, note, publish
from shared.tests.wallets import Behaviour, Wallet, WalletUnitOfWork, handlers, received, wallet_units
from shared.unit_of_work.idempotency import IdempotencyKey, under
from tests.support.infra import Infra, NatsServer
from tests.support.kept_broker import KeptBroker
from tests.support.schema import make_framework_tables

NewNats = Callable[[], NatsServer]


STREAM = "FTGO"


@pytest.fixture(scope="module")
def made(infra: Infra) -> Iterator[Database]:
    with infra.database("order") as database:
        make_framework_tables(database)
        yield database


@pytest.fixture
def provisioned(made: Database) -> Database:
    with closing(psycopg2.connect(made.migrations_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "truncate events, snapshots, inbox, outbox, subscriptions, subscription_checkpoints, set_aside,"
            " idempotency_keys"
        )
    return made


class World:
    """A database and a broker; replicas are started in it."""

    def __init__(self, database: Database, nats: NatsServer) -> None:
        self.database = database
        self.nats = nats
        self.broker = KeptBroker(NatsAddress(nats.url, FTGO), 1, LIMITS)
        self._stack = AsyncExitStack()

    async def replica(self, heard: Behaviour = note, lease: timedelta = LEASE, **options: Any) -> Replica:
        database = PostgresDatabase(self.database.url, TABLES, idle_seconds=lease.total_seconds())
        self._stack.push_async_callback(database.close)
        replica = Replica(database, self.broker, heard, lease, **options)
        self._stack.push_async_callback(replica.die)
        return replica

    async def sql(self, statement: str, *values: Any) -> Any:
        connection = await asyncpg.connect(self.database.migrations_url)
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()

    async def holder(self) -> int | None:
        holder: int | None = await self.sql("select holder from subscriptions where partition = 0")
        return holder

    async def __aenter__(self) -> "World":
        await publish(self.broker)  # makes the stream
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


async def test_every_message_is_handled_once_and_in_order(provisioned: Database, new_nats: NewNats) -> None:
    async with World(provisioned, new_nats()) as world:
        await publish(world.broker, *(heard(n) for n in range(1, 301)))
        replica = await world.replica()
        await heard_all(replica, range(1, 301))
        await publish(world.broker, heard(301))
        await heard_all(replica, range(1, 302))
        await replica.stop()
        assert await world.holder() is None
        assert await world.sql("select count(*) from inbox") == 301
        assert (await replica.position() or Mark(0, "", utc_now())).position == 301


async def test_of_two_replicas_one_reads_and_the_other_follows_at_once_when_it_stops(
    provisioned: Database, new_nats: NewNats
) -> None:
    async with World(provisioned, new_nats()) as world:
        one = await world.replica()
        await eventually(world.holder)
        first = await world.holder()
        other = await world.replica()
        await publish(world.broker, heard(1))
        await heard_all(one, [1])
        assert await world.holder() == first
        await one.stop()
        await publish(world.broker, heard(2))
        await heard_all(other, [1, 2])
        assert await world.holder() not in (None, first)
        await other.stop()


async def test_a_holder_that_was_killed_is_replaced_before_its_lease_ends(
    provisioned: Database, new_nats: NewNats
) -> None:
    async with World(provisioned, new_nats()) as world:
        one = await world.replica()
        await publish(world.broker, heard(1))
        await heard_all(one, [1])
        await one.die()
        assert await world.holder() is not None, "it has let nothing go"
        await world.sql("update subscriptions set lease_until = now() + interval '1 day'")
        other = await world.replica()
        await publish(world.broker, heard(2))
        await heard_all(other, [1, 2])


async def test_a_holder_that_was_stopped_is_replaced_when_its_lease_ends_and_does_no_harm_later(
    provisioned: Database, new_nats: NewNats
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def stopped(event: Heard, uow: WalletUnitOfWork) -> None:
        await note(event, uow)
        if not begun.is_set():
            begun.set()
            await go_on.wait()

    async with World(provisioned, new_nats()) as world:
        one = await world.replica(stopped)
        await publish(world.broker, heard(1))
        await begun.wait()
        first = await world.holder()
        other = await world.replica()
        await heard_all(other, [1])
        assert await world.holder() != first
        go_on.set()
        await one.stop()  # once what it was stopped in has come to its end
        await publish(world.broker, heard(2))
        await heard_all(other, [1, 2])
        assert await world.sql("select count(*) from events") == 2
        assert await world.sql("select count(*) from inbox") == 2


async def test_sessions_that_end_in_the_middle_of_a_batch_lose_and_double_nothing(
    infra: Infra, provisioned: Database, new_nats: NewNats
) -> None:
    interruptions = 0

    async def interrupted(event: Heard, uow: WalletUnitOfWork) -> None:
        nonlocal interruptions
        await note(event, uow)
        if int(event.text) % 40 == 0 and interruptions < 3:
            interruptions += 1
            await uow.flush()
            admin = await asyncpg.connect(infra.admin_url)
            pid = await uow.transaction.driver.fetchval("select pg_backend_pid()")  # type: ignore[attr-defined]
            await admin.execute("select pg_terminate_backend($1, 5000)", pid)
            await admin.close()

    async with World(provisioned, new_nats()) as world:
        replica = await world.replica(interrupted)
        for start in range(1, 200, 20):
            await publish(world.broker, *(heard(n) for n in range(start, start + 20)))
        await heard_all(replica, range(1, 201))
        assert interruptions == 3
        assert await world.sql("select count(*) from set_aside") == 0


async def test_it_survives_restarts_of_the_broker(provisioned: Database, new_nats: NewNats) -> None:
    async with World(provisioned, new_nats()) as world:
        replica = await world.replica()
        for number in range(1, 4):
            await publish(world.broker, heard(number))
            await heard_all(replica, range(1, number + 1))
            world.nats.server.kill()
            world.nats.server.start()
        await publish(world.broker, heard(4))
        await heard_all(replica, range(1, 5))
        assert not replica.task.done()


async def test_a_broker_that_has_lost_its_store_is_read_from_its_beginning(
    provisioned: Database, new_nats: NewNats
) -> None:
    async with World(provisioned, new_nats()) as world:
        replica = await world.replica()
        await publish(world.broker, heard(1), heard(2))
        await heard_all(replica, [1, 2])
        client = await nats.connect(world.nats.url)
        await client.jsm().delete_stream(STREAM)
        await client.close()
        world.nats.server.restart()
        await publish(world.broker, heard(1), heard(2), heard(3))
        await heard_all(replica, [1, 2, 3])
        mark = await replica.position()
        assert mark is not None
        assert mark.position == 3, "a place in the new stream"


async def test_a_batch_with_poison_in_it_leaves_the_poison_behind(provisioned: Database, new_nats: NewNats) -> None:
    async def crash(event: Heard, uow: WalletUnitOfWork) -> None:
        if event.text == "3":
            raise ValueError("no \x00 three")
        await note(event, uow)

    garbage = Publication(row_id="g", subject=subject_of(0, HEARD), headers={}, data='{"\x00": ' + "[" * 10_000)
    async with World(provisioned, new_nats()) as world:
        await publish(world.broker, heard(1), garbage, heard(2), heard(3), heard(4))
        replica = await world.replica(crash)
        await heard_all(replica, [1, 2])

        async def all_read() -> bool:
            mark = await replica.position()
            return mark is not None and mark.position == 5

        await eventually(all_read)
        waiting = await world.sql("select array_agg(message_id order by seq) from set_aside")
        assert sorted(waiting) == ["g", "m3", "m4"]
        assert await world.sql("select message_id from set_aside where parked_at is not null") == "g"


async def test_what_always_takes_longer_than_a_transaction_may_is_parked_and_holds_nobody_up(
    provisioned: Database, new_nats: NewNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "TRANSACTION_SECONDS", 0.3)

    async def endless(event: Heard, uow: WalletUnitOfWork) -> None:
        if event.wallet_id == "slow":
            await uow.transaction.statements.fetch("select pg_sleep(60)")  # type: ignore[attr-defined]
        await note(event, uow)

    policy = Policy(attempts=2, retry=timedelta(milliseconds=10))
    slow = received(Heard(wallet_id=WalletId("slow"), text="1"), "slow")
    async with World(provisioned, new_nats()) as world:
        await publish(
            world.broker,
            *(heard(n) for n in range(1, 20)),
            Publication(row_id="slow", subject=subject_of(0, HEARD), headers=slow.headers, data=slow.data),
            *(heard(n) for n in range(20, 40)),
        )
        replica = await world.replica(endless, policy=policy)
        await heard_all(replica, range(1, 40))

        async def is_parked() -> bool:
            return bool(await world.sql("select message_id from set_aside where parked_at is not null") == "slow")

        await eventually(is_parked)
        await publish(world.broker, heard(40))
        await heard_all(replica, range(1, 41))
        assert await world.sql("select count(*) from set_aside") == 1, "nobody waits behind it"


async def test_an_api_and_a_subscription_that_change_the_same_lose_nothing(
    provisioned: Database, new_nats: NewNats
) -> None:
    async with World(provisioned, new_nats()) as world:
        replica = await world.replica()
        await publish(world.broker, heard(0))
        await heard_all(replica, [0])
        commands = CommandQueue(handlers(), replica.units, utc_now, batch_size=50)
        other = CommandQueue(handlers(), replica.units, utc_now, batch_size=50)
        running = [asyncio.create_task(commands.run()), asyncio.create_task(other.run())]
        publishing = asyncio.create_task(publish(world.broker, *(heard(n) for n in range(1, 31))))
        answers = await asyncio.gather(
            *((commands, other)[n % 2].execute(Deposit(wallet_id=WalletId("w"), amount=1)) for n in range(20)),
            return_exceptions=True,
        )
        await publishing
        await heard_all(replica, range(31))
        done = sum(answer == Done() for answer in answers)
        assert all(answer == Done() or isinstance(answer, Conflict) for answer in answers)
        async with replica.units.begin() as uow:
            assert (await uow.wallets.get("w")).balance == done
        for task in running:
            task.cancel()


async def test_the_same_idempotency_key_in_two_replicas_at_once_is_done_once(provisioned: Database) -> None:
    database = PostgresDatabase(provisioned.url, TABLES)
    units = wallet_units(database, utc_now, Policy())
    async with units.begin() as uow:
        (await uow.wallets.add(Wallet(id="w"))).deposit(100)
    key = IdempotencyKey(request="PUT /x", key="k", body_hash="b")
    replicas = [CommandQueue(handlers(), units, utc_now, batch_size=50) for _ in range(3)]
    running = [asyncio.create_task(replica.run()) for replica in replicas]
    try:
        command = Withdraw(wallet_id=WalletId("w"), amount=1)
        with under(key):
            answers = await asyncio.gather(*(replica.execute(command) for replica in replicas))
        assert list(answers) == [Balance(amount=99)] * 3
        async with units.begin() as uow:
            assert (await uow.wallets.get("w")).balance == 99
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await database.close()
