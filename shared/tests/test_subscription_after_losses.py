"""What a subscription does when the broker no longer has what it has read, or has not read yet, on memory."""

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase
from shared.tests.listening import Replica, eventually, heard, heard_all, note, publish, texts


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


async def test_messages_that_have_expired_are_never_skipped() -> None:
    database, broker = MemoryDatabase(), MemoryBroker()
    await publish(broker, *(heard(n) for n in range(1, 6)))
    replica = Replica(database, broker, note)
    await heard_all(replica, range(1, 6))
    await replica.stop()
    await publish(broker, *(heard(n) for n in range(6, 10)))
    broker.lose_first(5)
    replica = Replica(database, broker, note)
    await heard_all(replica, range(1, 10))
    await replica.stop()
    await publish(broker, heard(10), heard(11))
    broker.lose_first(10)
    replica = Replica(database, broker, note)

    async def says_so() -> bool:
        return "is older than the stream's first message" in (replica.subscription.unavailable or "")

    await eventually(says_so)
    assert await replica.notes() == texts(range(1, 10))
    await replica.stop()
