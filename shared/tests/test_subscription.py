"""A subscription on real PostgreSQL and NATS: replicas, leases, and what the broker may lose."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import nats
import psycopg2
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.adapters.memory import MemoryDatabase
from shared.adapters.memory_broker import MemoryBroker
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.stream import STREAM, StreamLimits
from shared.adapters.postgres import database as postgres_database
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.backoff import Backoff
from shared.core.clock import utc_now
from shared.core.errors import Conflict, TechnicalFault
from shared.core.messages import Done
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity
from shared.idempotency import IdempotencyKey
from shared.messaging import subscription
from shared.messaging.broker import Bounds, Broker, BrokerUnavailable, Mark, Publication, subject_of
from shared.messaging.commands import Commands
from shared.messaging.dispatcher import Dispatcher
from shared.messaging.subscription import Subscription
from shared.runtime.provision import Database
from shared.testing.infra import Infra, NatsServer
from shared.testing.kept_broker import KeptBroker
from shared.testing.schema import make_framework_tables
from shared.tests.contracts import Balance, Deposit, Heard, WalletId, Withdraw
from shared.tests.wallets import Behaviour, Owner, Tally, Wallet, WalletUnitOfWork, handlers, received, wallet_units

NewNats = Callable[[], NatsServer]

LEASE = timedelta(seconds=1)
LIMITS = StreamLimits(max_age=3600, max_bytes=1 << 26)
HEARD = "event.shared.Heard"


class Replica:
    """One process of the service, as far as its subscription goes."""

    def __init__(
        self,
        sessions: Any,
        broker: Broker,
        heard: Behaviour,
        lease: timedelta = LEASE,
        policy: Policy = Policy(),  # noqa: B008 - it can't be changed
        **options: Any,
    ) -> None:
        dispatcher = Dispatcher[WalletUnitOfWork](handlers(heard=heard), policy, utc_now)
        units = wallet_units(sessions, utc_now, Policy())
        self.subscription = Subscription(
            0, [HEARD], sessions=sessions, broker=broker, units=units.on, dispatcher=dispatcher, clock=utc_now,
            lease=lease, batch_size=50, **options,
        )  # fmt: skip
        self.units = units
        self.task = asyncio.create_task(self.subscription.run())

    async def stop(self) -> None:
        await self.subscription.stop(self.task)

    async def die(self) -> None:
        """As by SIGKILL: nothing is released. What the kernel does then, to close its connections, is done too."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def notes(self) -> list[str]:
        async with self.units.begin() as uow:
            wallet = await uow.wallets.find("w")
            return [] if wallet is None else wallet.notes

    async def position(self) -> Mark | None:
        async with self.units.begin() as uow:
            return await uow.transaction.positions.get(0)


async def note(event: Heard, uow: WalletUnitOfWork) -> None:
    """Writes down what was heard."""
    wallet = await uow.wallets.find(event.wallet_id) or await uow.wallets.add(Wallet(id=event.wallet_id))
    wallet.note(event.text)


def heard(number: int, id_: str = "", row: str = "") -> Publication:
    message = received(Heard(wallet_id=WalletId("w"), text=str(number)), id_ or f"m{number}")
    return Publication(
        row_id=row or f"row-{number}", subject=subject_of(0, HEARD), headers=message.headers, data=message.data
    )


def others(number: int) -> Publication:
    """A message that this service does not subscribe to."""
    return Publication(row_id=f"other-{number}", subject=subject_of(0, "event.order.OrderCreated"), headers={}, data="")


async def publish(broker: Broker, *publications: Publication) -> None:
    async with broker.connect() as connection:
        await connection.publish(publications)


def texts(numbers: Sequence[int]) -> list[str]:
    return [str(number) for number in numbers]


async def eventually(condition: Callable[[], Awaitable[Any]]) -> None:
    """The test's time limit ends it when the condition never comes true."""
    while not await condition():
        await asyncio.sleep(0.01)


async def heard_all(replica: Replica, numbers: Sequence[int]) -> None:
    async def all_of_them() -> bool:
        if replica.task.done():
            replica.task.result()
        return len(await replica.notes()) >= len(numbers)

    await eventually(all_of_them)
    assert await replica.notes() == texts(numbers)


# --- on memory: what is the subscription's own


async def test_it_reads_on_from_where_it_was() -> None:
    database, broker = MemoryDatabase(), MemoryBroker()
    await publish(broker, *(heard(n) for n in range(1, 121)))
    first = Replica(database, broker, note)
    await heard_all(first, range(1, 121))
    await publish(broker, heard(121))
    await heard_all(first, range(1, 122))
    await first.stop()
    assert database.holders == {}
    await publish(broker, heard(122))
    database.inbox.clear()
    second = Replica(database, broker, note)
    await heard_all(second, range(1, 123))
    await second.stop()
    assert len(database.inbox) == 1, "only what is behind the position was read"


async def test_it_opens_everything_anew_when_the_broker_is_lost() -> None:
    database, broker = MemoryDatabase(), MemoryBroker()
    replica = Replica(database, broker, note)
    for number in range(1, 6):
        await publish(broker, heard(number))
        await heard_all(replica, range(1, number + 1))
        broker.disconnect()
    await publish(broker, heard(6))
    await heard_all(replica, range(1, 7))
    await replica.stop()


async def test_after_each_time_that_all_was_well_it_begins_with_a_short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    class Recorded(Backoff):
        def pause(self) -> float:
            tries.append(self.tries)
            super().pause()
            return 0

    monkeypatch.setattr(subscription, "Backoff", Recorded)
    database, broker = MemoryDatabase(), MemoryBroker()
    replica = Replica(database, broker, note)
    for number in range(1, 5):
        await publish(broker, heard(number))
        await heard_all(replica, range(1, number + 1))
        broker.disconnect()
    await publish(broker, heard(5))
    await heard_all(replica, range(1, 6))
    await replica.stop()
    assert tries == [0] * 4


async def test_a_fault_leaves_the_batch_for_another_try_after_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = 4
    tries: list[int] = []

    class Recorded(Backoff):
        def pause(self) -> float:
            tries.append(self.tries)
            super().pause()
            return 0

    monkeypatch.setattr(subscription, "Backoff", Recorded)

    async def unlucky(event: Heard, uow: WalletUnitOfWork) -> None:
        nonlocal faults
        await note(event, uow)
        if event.text == "1" and faults:
            faults -= 1
            raise TechnicalFault("the disk is full")

    database, broker = MemoryDatabase(), MemoryBroker()
    await publish(broker, heard(1), heard(2), heard(3))
    replica = Replica(database, broker, unlucky)
    await heard_all(replica, [1, 2, 3])
    await replica.stop()
    assert tries == [0, 1, 2, 3]


async def test_a_batch_that_takes_longer_than_it_may_is_tried_in_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "pause", lambda _: 0)
    sizes: list[int] = []

    class Slow(MemoryDatabase):
        """Ends a transaction that handles more than three messages."""

        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Any]:
            before = len(self.inbox)
            async with super().transaction() as transaction:
                yield transaction
                if size := len(self.inbox) - before:
                    sizes.append(size)
                if size > 3:
                    raise TechnicalFault("terminating connection due to transaction timeout")

    database, broker = Slow(), MemoryBroker()
    await publish(broker, *(heard(n) for n in range(1, 51)))
    replica = Replica(database, broker, note)
    await heard_all(replica, range(1, 51))
    await replica.stop()
    assert sizes[:6] == [50, 25, 12, 6, 3, 6]


async def test_with_too_many_parked_it_reads_no_more_until_an_operator_has_decided() -> None:
    async def bad(event: Heard, uow: WalletUnitOfWork) -> None:
        raise ValueError(event.text)

    database, broker = MemoryDatabase(), MemoryBroker()
    replica = Replica(database, broker, bad, timedelta(seconds=0.1), most_parked=2)
    await publish(broker, heard(1), heard(2))

    async def waits() -> bool:
        for number, message in list(database.waiting.items()):
            database.waiting[number] = replace(message, parked_at=utc_now())
        return replica.subscription.unavailable == "2 messages are parked: no more are read until there are fewer"

    await eventually(waits)
    await publish(broker, heard(3))
    position = await replica.position()
    assert position is not None
    assert position.position == 2
    database.waiting.clear()

    async def reads_on() -> bool:
        mark = await replica.position()
        return mark is not None and mark.position == 3 and replica.subscription.unavailable is None

    await eventually(reads_on)
    await replica.stop()


async def test_what_the_broker_has_lost_is_read_again_and_handled_once() -> None:
    """It goes back to the newest checkpoint that still matches, by id and time, and the inbox drops what it had."""
    database, broker = MemoryDatabase(), MemoryBroker()
    replica = Replica(database, broker, note)
    await publish(broker, heard(1), heard(2))
    await heard_all(replica, [1, 2])
    checkpoint = broker.message_at(2)
    assert checkpoint is not None
    database.checkpoints[0] = [checkpoint]
    await publish(broker, heard(3), heard(4))
    await heard_all(replica, [1, 2, 3, 4])
    broker.lose(after=2)

    async def has_gone_back() -> bool:
        return await replica.position() == checkpoint

    await eventually(has_gone_back)
    await publish(broker, heard(5), heard(3), heard(4))  # the relay publishes again, and others come first
    await heard_all(replica, [1, 2, 3, 4, 5])

    async def has_read_all() -> bool:
        mark = await replica.position()
        return mark is not None and mark.position == 5

    await eventually(has_read_all)
    await replica.stop()


async def test_the_same_message_at_another_time_is_another_message() -> None:
    database, broker = MemoryDatabase(), MemoryBroker()
    await publish(broker, heard(1), heard(2))
    replica = Replica(database, broker, note)
    await heard_all(replica, [1, 2])
    await replica.stop()
    broker.lose(after=0)
    await publish(broker, heard(3), heard(2))
    assert broker.message_at(2) != await replica.position()
    replica = Replica(database, broker, note)
    await heard_all(replica, [1, 2, 3])
    await replica.stop()


async def test_without_a_checkpoint_that_matches_it_begins_at_the_beginning() -> None:
    database, broker = MemoryDatabase(), MemoryBroker()
    await publish(broker, heard(1), heard(2))
    replica = Replica(database, broker, note)
    await heard_all(replica, [1, 2])
    broker.lose(after=0)
    await publish(broker, heard(3))
    await heard_all(replica, [1, 2, 3])
    await replica.stop()


class ExpiredBroker(MemoryBroker):
    """Its stream has lost its first messages to age."""

    first = 1

    def bounds(self) -> Bounds:
        return Bounds(self.first, super().bounds().last)

    def message_at(self, position: int) -> Mark | None:
        return super().message_at(position) if position >= self.first else None


async def test_messages_that_have_expired_are_never_skipped() -> None:
    database, broker = MemoryDatabase(), ExpiredBroker()
    await publish(broker, *(heard(n) for n in range(1, 6)))
    replica = Replica(database, broker, note)
    await heard_all(replica, range(1, 6))
    await replica.stop()
    await publish(broker, *(heard(n) for n in range(6, 10)))
    broker.first = 6
    replica = Replica(database, broker, note)
    await heard_all(replica, range(1, 10))
    await replica.stop()
    await publish(broker, heard(10), heard(11))
    broker.first = 11
    replica = Replica(database, broker, note)

    async def says_so() -> bool:
        return "is older than the stream's first message" in (replica.subscription.unavailable or "")

    await eventually(says_so)
    assert await replica.notes() == texts(range(1, 10))
    await replica.stop()


async def test_a_stream_of_others_messages_moves_the_position_too() -> None:
    """Or it would fall out of the stream's retention."""
    database, broker = MemoryDatabase(), MemoryBroker()
    await publish(broker, heard(1), *(others(n) for n in range(9)))
    replica = Replica(database, broker, note)
    await heard_all(replica, [1])
    broker.disconnect()

    async def at_the_end() -> bool:
        return await replica.position() == broker.message_at(10)

    await eventually(at_the_end)
    await replica.stop()


async def test_an_idle_position_follows_the_stream_while_others_are_busy() -> None:
    """The connection lasts, and nothing of what comes is for this service."""
    database, broker = MemoryDatabase(), MemoryBroker()
    replica = Replica(database, broker, note, timedelta(seconds=0.03), idle=timedelta(seconds=0.05))
    await publish(broker, heard(1))
    await heard_all(replica, [1])
    await publish(broker, *(others(n) for n in range(9)))

    async def at_the_end() -> bool:
        return await replica.position() == broker.message_at(10)

    await eventually(at_the_end)
    await replica.stop()


async def test_stop_waits_for_the_work_in_hand_and_lets_the_partition_go() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(event: Heard, uow: WalletUnitOfWork) -> None:
        begun.set()
        await go_on.wait()
        await note(event, uow)

    database, broker = MemoryDatabase(), MemoryBroker()
    replica = Replica(database, broker, slow)
    await publish(broker, heard(1))
    await begun.wait()
    stopping = asyncio.create_task(replica.stop())
    await asyncio.sleep(0)
    await publish(broker, heard(2))
    assert not stopping.done()
    go_on.set()
    await stopping
    assert (await replica.notes(), database.holders) == (["1"], {})


@pytest.mark.parametrize("situation", ["standing by", "without a broker", "reading", "at once"])
async def test_stop_ends_every_wait(situation: str) -> None:
    class Away(MemoryBroker):
        def connect(self) -> Any:
            raise BrokerUnavailable("away")

    database = MemoryDatabase()
    database.alive.add(7)
    if situation == "standing by":
        database.holders[0] = (7, utc_now() + timedelta(days=1))
    broker = Away() if situation == "without a broker" else MemoryBroker()
    replica = Replica(database, broker, note, lease=timedelta(hours=1))

    async def settled() -> bool:
        unavailable = replica.subscription.unavailable
        return unavailable == "away" if situation == "without a broker" else unavailable is None

    if situation != "at once":
        await eventually(settled)
    await replica.stop()
    assert replica.task.done()
    assert database.holders.get(0, (None,))[0] == (7 if situation == "standing by" else None)


async def test_it_ends_when_it_is_cancelled_though_a_library_swallows_that() -> None:
    asked = asyncio.Event()

    class DeafBroker(MemoryBroker):
        @asynccontextmanager
        async def connect(self) -> AsyncIterator[Any]:
            async with super().connect() as connection:
                yield DeafConnection(connection)

    class DeafConnection:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        async def bounds(self) -> Any:
            asked.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            return await self._connection.bounds()

    replica = Replica(MemoryDatabase(), DeafBroker(), note)
    await asked.wait()
    replica.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replica.task


async def test_a_bug_ends_it_instead_of_passing_unseen() -> None:
    class Broken(MemoryBroker):
        def bounds(self) -> Bounds:
            raise ZeroDivisionError

    database = MemoryDatabase()
    database.positions[0] = Mark(1, "row", utc_now())
    replica = Replica(database, Broken(), note)
    with pytest.raises(ZeroDivisionError):
        await replica.task


# --- on PostgreSQL and NATS

_metadata = MetaData()
TABLES: dict[type[Entity], Table] = {
    Owner: Table(
        "owners",
        _metadata,
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("name", Text),
        Column("wallets", JSONB),
    ),
    Tally: Table(
        "tallies",
        _metadata,
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("sequence", Integer),
        Column("total", Integer),
    ),
}


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
        self.broker = KeptBroker(NatsAddress(nats.url), 1, LIMITS)
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
            await uow.transaction.driver.execute("select pg_sleep(60)")  # type: ignore[attr-defined]
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


async def test_an_api_and_a_subscription_that_change_the_same_lose_nothing(
    provisioned: Database, new_nats: NewNats
) -> None:
    async with World(provisioned, new_nats()) as world:
        replica = await world.replica()
        await publish(world.broker, heard(0))
        await heard_all(replica, [0])
        commands = Commands(handlers(), replica.units, utc_now, batch_size=50)
        other = Commands(handlers(), replica.units, utc_now, batch_size=50)
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
    replicas = [Commands(handlers(), units, utc_now, batch_size=50) for _ in range(3)]
    running = [asyncio.create_task(replica.run()) for replica in replicas]
    try:
        command = Withdraw(wallet_id=WalletId("w"), amount=1)
        answers = await asyncio.gather(*(replica.execute(command, key) for replica in replicas))
        assert list(answers) == [Balance(amount=99)] * 3
        async with units.begin() as uow:
            assert (await uow.wallets.get("w")).balance == 99
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await database.close()
