"""The broker in memory."""

import asyncio

import pytest

from shared.adapters.memory.broker import MemoryBroker
from shared.messaging.broker import Broker, BrokerUnavailable
from shared.testing.broker_suite import CREATED, BrokerSuite, publications, rows, take_exactly


class TestMemoryBroker(BrokerSuite):
    @pytest.fixture
    def broker(self) -> Broker:
        return MemoryBroker()

    async def damage(self, broker: Broker, position: int) -> None:
        assert isinstance(broker, MemoryBroker)
        broker.damage(position)


async def test_a_disconnect_ends_what_waits() -> None:
    broker = MemoryBroker()
    async with broker.connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        waiting = asyncio.create_task(feed.take(1, 30))
        await asyncio.sleep(0)
        broker.disconnect()
        with pytest.raises(BrokerUnavailable):
            await waiting
        with pytest.raises(BrokerUnavailable):
            await log.publish(publications([1]))


async def test_a_lost_tail_makes_room_for_other_messages() -> None:
    broker = MemoryBroker()
    async with broker.connect() as log:
        await log.publish(publications([1, 2, 3]))
    broker.lose(after=1)
    async with broker.connect() as log:
        assert await log.publish(publications([3, 2])) == [2, 3]
        async with log.read(0, after=0, filters=[CREATED]) as feed:
            assert rows(await take_exactly(feed, 3)) == [1, 3, 2]
