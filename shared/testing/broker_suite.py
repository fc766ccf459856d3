"""The tests that every implementation of the broker port must pass.

Subclass `BrokerSuite` in a test module, define the fixture `broker`, and override `damage`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable

import pytest

from shared.messaging.broker import Bounds, Broker, BrokerUnavailable, Feed, Publication, subject_of
from shared.messaging.envelope import ROW_ID_HEADER, Received

CREATED, APPROVED, REPLY = "event.order.OrderCreated", "event.order.OrderApproved", "reply.order"


def publication(number: int, route: str = CREATED, partition: int = 0, data: str = "{}") -> Publication:
    """Return a message of the outbox row `order-<number>`."""
    return Publication(
        row_id=f"order-{number}", subject=subject_of(partition, route), headers={"ce-id": f"m{number}"}, data=data
    )


def publications(numbers: Iterable[int]) -> list[Publication]:
    """Return messages of these outbox rows."""
    return [publication(number) for number in numbers]


async def take_exactly(feed: Feed, count: int) -> list[Received]:
    """Return the next `count` messages."""
    taken: list[Received] = []
    while len(taken) < count:
        taken += await feed.take(count - len(taken), 10)
    return taken


def rows(messages: Iterable[Received]) -> list[int]:
    """Return the outbox row numbers of the messages."""
    return [int(message.row_id.removeprefix("order-")) for message in messages]


class BrokerSuite(ABC):
    """Tests of the broker port. Each test gets an empty broker."""

    @abstractmethod
    async def damage(self, broker: Broker, position: int) -> None:
        """Damage a stored message, so that it can no longer be read; no connection is open."""

    async def test_a_damaged_message_is_passed_over(self, broker: Broker) -> None:
        async with broker.connect() as log:
            await log.publish(publications(range(1, 8)))
        await self.damage(broker, 3)
        async with broker.connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
            assert await log.message_at(3) is None
            assert await log.bounds() == Bounds(1, 7)
            assert rows(await take_exactly(feed, 6)) == [1, 2, 4, 5, 6, 7]
            await log.publish(publications([8]))
            assert rows(await take_exactly(feed, 1)) == [8]

    @pytest.mark.parametrize("damaged", [(), (1,), (4,), (9,), (3, 9), tuple(range(1, 10))])
    async def test_a_feed_to_the_end_ends(self, broker: Broker, damaged: tuple[int, ...]) -> None:
        """Whatever is damaged, and though more comes in."""
        async with broker.connect() as log:
            await log.publish(publications(range(1, 10)))
        for position in damaged:
            await self.damage(broker, position)
        left = [position for position in range(1, 10) if position not in damaged]
        async with broker.connect() as log:
            for routes, expected in (([CREATED], left), ([APPROVED], [])):
                async with log.read(0, after=0, filters=routes, to_end=True) as feed:
                    taken = []
                    while batch := await feed.take(2, 10):
                        taken += rows(batch)
                    assert taken == expected
                    assert await feed.take(2, 10) == []

    async def test_a_feed_to_the_end_has_more_than_a_window(self, broker: Broker) -> None:
        async with broker.connect() as log:
            await log.publish(publications(range(1, 1201)))
            async with log.read(0, after=100, filters=[CREATED], to_end=True) as feed:
                taken = []
                while batch := await feed.take(300, 10):
                    taken += rows(batch)
            assert taken == list(range(101, 1201))

    async def test_a_feed_to_the_end_does_not_follow_what_comes_in(self, broker: Broker) -> None:
        async with broker.connect() as log:
            await log.publish(publications([1, 2]))
            async with log.read(0, after=0, filters=[CREATED], to_end=True) as feed:
                await log.publish(publications(range(3, 1000)))
                assert rows(await take_exactly(feed, 2)) == [1, 2]
                assert await feed.take(1000, 10) == []

    async def test_an_empty_stream(self, broker: Broker) -> None:
        async with broker.connect() as log:
            assert await log.bounds() == Bounds(1, 0)
            assert await log.message_at(0) is None
            assert await log.message_at(1) is None

    async def test_messages_come_in_the_order_they_were_published_in(self, broker: Broker) -> None:
        async with broker.connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
            positions = await log.publish(publications(range(1, 2501)))  # several windows
            assert positions == list(range(1, 2501))
            assert rows(await take_exactly(feed, 2500)) == list(range(1, 2501))
            assert await log.bounds() == Bounds(1, 2500)

    async def test_a_message_arrives_as_it_was_published(self, broker: Broker) -> None:
        sent = Publication(
            row_id="order-7",
            subject=subject_of(0, CREATED),
            headers={"ce-id": "m7", "ce-partitionkey": "Zoë's: a b", "traceparent": "00-1-2-01"},
            data='{"name":"Ünïcode 🍕"}',
        )
        async with broker.connect() as log:
            [position] = await log.publish([sent])
            async with log.read(0, after=0, filters=[CREATED]) as feed:
                [received] = await take_exactly(feed, 1)
        assert (received.position, received.row_id, received.data) == (position, "order-7", sent.data)
        assert received.headers == {ROW_ID_HEADER: "order-7", **sent.headers}

    async def test_the_mark_of_a_message_is_the_same_wherever_it_is_seen(self, broker: Broker) -> None:
        async with broker.connect() as log:
            await log.publish(publications([1, 2]))
            async with log.read(0, after=1, filters=[CREATED]) as feed:
                [received] = await take_exactly(feed, 1)
        async with broker.connect() as log:
            mark = await log.message_at(2)
        assert mark is not None
        assert (mark.position, mark.row_id, mark.at) == (received.position, received.row_id, received.received_at)

    async def test_a_feed_begins_behind_its_position(self, broker: Broker) -> None:
        async with broker.connect() as log:
            await log.publish(publications(range(1, 11)))
            async with log.read(0, after=7, filters=[CREATED]) as feed:
                assert rows(await take_exactly(feed, 3)) == [8, 9, 10]

    async def test_a_feed_may_begin_at_the_end_or_beyond(self, broker: Broker) -> None:
        async with broker.connect() as log:
            await log.publish(publications([1, 2]))
            async with (
                log.read(0, after=2, filters=[CREATED]) as at_end,
                log.read(0, after=3, filters=[CREATED]) as beyond,
            ):
                await log.publish(publications([3, 4]))
                assert rows(await take_exactly(at_end, 2)) == [3, 4]
                assert rows(await take_exactly(beyond, 1)) == [4]

    async def test_a_feed_has_exactly_its_routes_and_partition(self, broker: Broker) -> None:
        async with broker.connect() as log, log.read(1, after=0, filters=[CREATED, REPLY]) as feed:
            await log.publish(
                [
                    publication(1, CREATED, partition=1),
                    publication(2, CREATED, partition=0),
                    publication(3, APPROVED, partition=1),
                    publication(4, REPLY, partition=1),
                    publication(5, "event.order.OrderCreatedTwice", partition=1),
                    publication(6, CREATED, partition=1),
                ]
            )
            assert rows(await take_exactly(feed, 3)) == [1, 4, 6]

    async def test_take_returns_no_more_than_its_limit(self, broker: Broker) -> None:
        async with broker.connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
            await log.publish(publications(range(1, 11)))
            taken: list[int] = []
            while len(taken) < 10:
                batch = rows(await feed.take(3, 10))
                assert 1 <= len(batch) <= 3
                taken += batch
            assert taken == list(range(1, 11))

    async def test_take_returns_nothing_when_nothing_comes(self, broker: Broker) -> None:
        async with broker.connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
            assert await feed.take(10, 0) == []
            assert await feed.take(10, 0.01) == []
            await log.publish(publications([1]))
            assert rows(await take_exactly(feed, 1)) == [1]

    async def test_take_waits_for_the_first_message(self, broker: Broker) -> None:
        async with broker.connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
            waiting = asyncio.create_task(feed.take(10, 30))
            await asyncio.sleep(0)
            await log.publish(publications([1]))
            assert rows(await waiting) == [1]

    async def test_feeds_are_independent(self, broker: Broker) -> None:
        async with broker.connect() as one, broker.connect() as other:
            await one.publish(publications([1, 2, 3]))
            async with (
                one.read(0, after=0, filters=[CREATED]) as first,
                other.read(0, after=0, filters=[CREATED]) as second,
            ):
                assert rows(await take_exactly(first, 3)) == [1, 2, 3]
                assert rows(await take_exactly(second, 3)) == [1, 2, 3]

    async def test_more_than_a_window_waits_without_loss(self, broker: Broker) -> None:
        async with broker.connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
            first = await log.publish(publications(range(1, 2001)))
            assert len(first) == 2000
            assert rows(await take_exactly(feed, 1)) == [1]
            await log.publish(publications(range(2001, 2101)))
            assert rows(await take_exactly(feed, 2099)) == list(range(2, 2101))

    async def test_a_repeat_is_stored_once(self, broker: Broker) -> None:
        async with broker.connect() as log:
            assert await log.publish(publications([1, 2])) == [1, 2]
        async with broker.connect() as log:
            assert await log.publish(publications([2, 3, 1])) == [2, 3, 1]
            async with log.read(0, after=0, filters=[CREATED]) as feed:
                assert rows(await take_exactly(feed, 3)) == [1, 2, 3]
            assert await log.bounds() == Bounds(1, 3)

    async def test_publishing_nothing(self, broker: Broker) -> None:
        async with broker.connect() as log:
            assert await log.publish([]) == []

    async def test_a_closed_connection_is_of_no_use(self, broker: Broker) -> None:
        async with broker.connect() as log:
            pass
        with pytest.raises(BrokerUnavailable):
            await log.bounds()
        with pytest.raises(BrokerUnavailable):
            await log.message_at(1)
        with pytest.raises(BrokerUnavailable):
            await log.publish(publications([1]))
        with pytest.raises(BrokerUnavailable):
            await log.publish([])
        with pytest.raises(BrokerUnavailable):
            async with log.read(0, after=0, filters=[CREATED]) as feed:
                await feed.take(1, 10)
