"""Several replicas read several partitions: they share them, and each key keeps its order whoever comes and goes."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.clock import SteadyClock, utc_now
from shared.core.policy import Policy
from shared.host.provision import Database
from shared.messaging.broker import Publication, subject_of
from shared.messaging.envelope import partition_of
from shared.processing.dispatcher import Dispatcher
from shared.processing.shares import new_replica
from shared.processing.subscription import Subscription
from shared.tests.contracts import Heard, WalletId
from shared.tests.listening import HEARD, LIMITS, TABLES, eventually, note, publish
from shared.tests.wallets import WalletUnitOfWork, handlers, received, wallet_units
from tests.support.infra import Infra
from tests.support.kept_broker import KeptBroker
from tests.support.schema import make_framework_tables

PARTITIONS = 4
LEASE = timedelta(seconds=2)
KEYS = [f"wallet {number}" for number in range(12)]
MESSAGES = 600
BATCH = 15


class Replica:
    """One process of the service: a subscription of each partition."""

    def __init__(self, database: PostgresDatabase, broker: KeptBroker) -> None:
        dispatcher = Dispatcher[WalletUnitOfWork](handlers(heard=note), Policy(), utc_now)
        units = wallet_units(database, utc_now, Policy())
        self.number = new_replica()
        self._subscriptions = [
            Subscription(
                partition, [HEARD], sessions=database, broker=broker, units=units.on, dispatcher=dispatcher,
                clock=utc_now, steady=SteadyClock(), lease=LEASE, batch_size=10,
                partitions=PARTITIONS, replica=self.number,
            )
            for partition in range(PARTITIONS)
        ]  # fmt: skip
        self._tasks = [asyncio.create_task(each.run()) for each in self._subscriptions]

    async def stop(self) -> None:
        """As by SIGTERM."""
        await asyncio.gather(*(each.stop(task) for each, task in zip(self._subscriptions, self._tasks, strict=True)))

    async def die(self) -> None:
        """As by SIGKILL: nothing is released."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Replicas:
    """Those that run, on one database and one broker."""

    def __init__(
        self, database: Database, broker: KeptBroker, stack: AsyncExitStack, sql: "asyncpg.Connection[Any]"
    ) -> None:
        self.running: list[Replica] = []
        self.broker = broker
        self.sql = sql
        self._database = database
        self._stack = stack

    def start(self) -> None:
        """Let one more come."""
        database = PostgresDatabase(self._database.url, TABLES, pool_size=PARTITIONS)
        replica = Replica(database, self.broker)
        self._stack.push_async_callback(database.close)
        self._stack.push_async_callback(replica.die)
        self.running.append(replica)

    async def shares(self) -> dict[int, int]:
        """How many partitions each replica holds that holds any, by its number."""
        held = await self.sql.fetch(
            "select holder >> 31, count(*) from subscriptions where holder is not null group by holder >> 31"
        )
        return dict(map(tuple, held))

    async def share(self, *counts: int) -> None:
        """Wait until they hold so many each, the fewest first."""

        async def is_so() -> bool:
            return sorted((await self.shares()).values()) == list(counts)

        await eventually(is_so)

    async def heard(self) -> dict[str, list[str]]:
        """What has been heard of each key, in this order."""
        rows = await self.sql.fetch("select id, data ->> 'note' from events where data ? 'note' order by id, version")
        heard = defaultdict(list)
        for id_, text in rows:
            heard[id_].append(text)
        return heard


@pytest.fixture(scope="module")
def made(infra: Infra) -> Iterator[Database]:
    with infra.database("order") as database:
        make_framework_tables(database)
        yield database


@asynccontextmanager
async def replicas_of(infra: Infra, database: Database) -> AsyncIterator[Replicas]:
    """None so far, and a stream to read."""
    with infra.nats() as nats:
        async with AsyncExitStack() as stack:
            sql = await asyncpg.connect(database.migrations_url)
            stack.push_async_callback(sql.close)
            await sql.execute("truncate events, snapshots, inbox, subscriptions, subscription_checkpoints, set_aside")
            yield Replicas(database, KeptBroker(NatsAddress(nats.url, FTGO), PARTITIONS, LIMITS), stack, sql)


async def test_replicas_share_the_partitions_and_take_over_those_of_who_goes(infra: Infra, made: Database) -> None:
    async with replicas_of(infra, made) as replicas:
        await publish(replicas.broker)
        replicas.start()
        await replicas.share(4)
        replicas.start()
        await replicas.share(2, 2)
        replicas.start()
        await replicas.share(1, 1, 2)
        await replicas.running[0].die()
        await replicas.share(2, 2)
        await replicas.running[1].stop()
        await replicas.share(4)
        assert await replicas.shares() == {replicas.running[2].number: 4}


@pytest.mark.parametrize("seed", range(3))
async def test_every_key_keeps_its_order_whoever_comes_and_goes(infra: Infra, made: Database, seed: int) -> None:
    random = Random(seed)
    said: dict[str, list[str]] = defaultdict(list)
    async with replicas_of(infra, made) as replicas:
        replicas.start()
        for number in range(MESSAGES // BATCH):
            batch = [random.choice(KEYS) for _ in range(BATCH)]
            for key in batch:
                said[key].append(str(len(said[key])))
            await publish(replicas.broker, *messages(said, batch))
            if number % 5 == 4:
                await come_or_go(replicas, random)

        async def all_is_heard() -> bool:
            return sum(map(len, (await replicas.heard()).values())) >= MESSAGES

        await eventually(all_is_heard)
        assert await replicas.heard() == said


async def come_or_go(replicas: Replicas, random: Random) -> None:
    """One comes, or one of several stops or dies."""
    if len(replicas.running) == 1 or random.random() < 0.5:
        replicas.start()
    else:
        replica = replicas.running.pop(random.randrange(len(replicas.running)))
        await random.choice([replica.stop, replica.die])()


def messages(said: dict[str, list[str]], keys: list[str]) -> list[Publication]:
    """What was said last of these keys, in the partitions in which relays would publish it."""
    left = Counter(keys)
    publications = []
    for key in keys:
        text = said[key][-left[key]]
        left[key] -= 1
        message = received(Heard(wallet_id=WalletId(key), text=text), f"{key} {text}")
        subject = subject_of(partition_of(key, PARTITIONS), HEARD)
        publications.append(
            Publication(row_id=f"row {key} {text}", subject=subject, headers=message.headers, data=message.data)
        )
    return publications
