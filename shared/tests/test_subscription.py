"""What is the subscription's own, on memory: where it reads on, what it waits for, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase
from shared.core.backoff import Backoff
from shared.core.clock import utc_now
from shared.core.errors import TechnicalFault
from shared.messaging.broker import Bounds, BrokerUnavailable, Mark, Publication, subject_of
from shared.processing import subscription
from shared.tests.contracts import Heard
from shared.tests.listening import Replica, eventually, heard, heard_all, note, publish
from shared.tests.wallets import WalletUnitOfWork


def others(number: int) -> Publication:
    """A message that this service does not subscribe to."""
    return Publication(row_id=f"other-{number}", subject=subject_of(0, "event.order.OrderCreated"), headers={}, data="")


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
    assert await replica.position() == broker.message_at(6)
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
    replica = Replica(database, broker, bad, timedelta(seconds=0.1), max_parked=2)
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
    assert await replica.notes() == ["1"], "what is others' was passed over"
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
    assert await replica.notes() == ["1"], "what is others' was passed over"
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
        database.holders[0] = (7, utc_now() + timedelta(hours=1))
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
