"""The tests that every implementation of the database port must pass.

Subclass `DatabaseSuite` in a test module and define the fixture `databases`: a function that opens a fresh, empty
database with a table for `Parcel`.
"""

from abc import ABC, abstractmethod

import pytest

from shared.messaging.broker import Mark
from shared.messaging.inbox import Claim, KeptReply
from shared.messaging.set_aside import PutAside, TakenUp
from shared.saga.instance import SagaFilter, SagaInstance
from shared.saga.machine import Phase
from shared.testing.database.events import EventStoreSuite
from shared.testing.database.given import (
    HOUR,
    NOON,
    SECOND,
    Databases,
    OpenDatabase,
    Parcel,
    Unexpected,
    due,
    envelope,
    event,
    ids,
    parcel,
    saga,
    snapshot,
    waiting,
)
from shared.testing.database.messages import MessageSuite
from shared.testing.database.partitions import PartitionSuite
from shared.testing.database.rows import RowStoreSuite


class DatabaseSuite(EventStoreSuite, RowStoreSuite, MessageSuite, PartitionSuite, ABC):
    """Tests of the database port. Each gets an empty database.

    Transactions do not overlap: memory runs one at a time.
    """

    async def test_sagas_are_found_when_they_are_due(self, databases: Databases) -> None:
        rows = [
            saga("late", NOON + SECOND),
            saga("soon", NOON),
            saga("stuck", stuck=True, started_at=NOON + SECOND),
            saga("done", phase=Phase.COMPLETED),
        ]
        async with databases() as database:
            async with database.transaction() as tx:
                assert await tx.saga_timers.next_due(due(NOON)) is None
                await tx.rows(SagaInstance).insert(rows)
            async with database.transaction() as tx:
                timers = tx.saga_timers
                assert list(await timers.due(due(NOON - SECOND), 10)) == []
                assert list(await timers.due(due(NOON), 10)) == [("soon", "c-soon")]
                assert list(await timers.due(due(NOON + SECOND), 10)) == [("soon", "c-soon"), ("late", "c-late")]
                assert list(await timers.due(due(NOON + SECOND), 1)) == [("soon", "c-soon")]
                assert await timers.next_due(due(NOON)) == NOON
                assert await timers.next_due(due(NOON - SECOND)) == NOON
                # The clock was set back since: no pause is that long.
                set_back = due(NOON - 2 * HOUR)
                assert list(await timers.due(set_back, 10)) == [("late", "c-late")]
                assert await timers.next_due(set_back) == set_back.now
                unfinished = await timers.unfinished(SagaFilter(), 10)
                assert {instance.id for instance in unfinished} == {"late", "soon", "stuck"}
                assert unfinished[-1] == rows[2]
                assert len(await timers.unfinished(SagaFilter(), 2)) == 2

    async def test_unfinished_sagas_are_found_by_what_is_known_of_them(self, databases: Databases) -> None:
        rows = [
            saga("a", NOON),
            saga("b", stuck=True, error="Not found", started_at=NOON + SECOND),
            saga("done", phase=Phase.COMPLETED, error="Not found"),
        ]
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(SagaInstance).insert(rows)

            async def found(wanted: SagaFilter) -> list[str]:
                async with database.transaction() as tx:
                    return [instance.id for instance in await tx.saga_timers.unfinished(wanted, 10)]

            assert await found(SagaFilter(stuck=True)) == ["b"]
            assert await found(SagaFilter(stuck=False)) == ["a"]
            assert await found(SagaFilter(id="a")) == ["a"]
            assert await found(SagaFilter(id="done")) == []
            assert await found(SagaFilter(type=rows[0].type)) == ["a", "b"]
            assert await found(SagaFilter(type="another")) == []
            assert await found(SagaFilter(error="not FOUND")) == ["b"]

    async def test_what_is_written_is_there_for_what_follows_in_the_transaction(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, one.transaction() as tx:
            await tx.rows(Parcel).insert([parcel("a")])
            await tx.rows(Parcel).update([(parcel("a", 2, weight=9), 1)])
            await tx.inbox.add([Claim(message_id="m", row_id="r")])
            await tx.inbox.keep_replies([KeptReply(message_id="m", reply=envelope("reply"))])
            await tx.events.append([event("a", 1)], [])
            await tx.events.append([event("a", 2)], [snapshot("a", 2)])
            assert await tx.rows(Parcel).load(["a"]) == [parcel("a", 2, weight=9)]
            assert await tx.inbox.find(["m"]) == {"m": Claim(message_id="m", row_id="r", reply=envelope("reply"))}
            history = (await tx.events.load("Order", "t1", ["a"]))["a"]
            assert history.snapshot is not None
            assert history.snapshot.version == 2

    async def test_everything_is_undone_when_a_transaction_fails(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one:
            async with one.transaction() as tx:
                await tx.events.append([event("a", 1)], [snapshot("a", 1)])
                await tx.rows(Parcel).insert([parcel("a")])
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.waiting_room.write([PutAside(waiting("1"))])
                assert await tx.positions.take(0, 1, HOUR)
                await tx.positions.advance(0, 1, Mark(1, "r1", NOON), HOUR)
                await tx.positions.add_checkpoint(0, Mark(1, "r1", NOON))
            with pytest.raises(Unexpected):
                async with one.transaction() as tx:
                    await tx.events.append([event("a", 2), event("b", 1)], [snapshot("a", 2, state="{}")])
                    await tx.rows(Parcel).update([(parcel("a", 2, weight=9), 1)])
                    await tx.rows(Parcel).insert([parcel("b")])
                    await tx.inbox.add([Claim(message_id="b", row_id="r")])
                    await tx.inbox.keep_replies([KeptReply(message_id="a", reply=envelope("reply"))])
                    await tx.outbox.add([envelope("sent")])
                    (head,) = await tx.waiting_room.heads(0, due(NOON), 10)
                    await tx.waiting_room.write([TakenUp(head), PutAside(waiting("2"))])
                    await tx.positions.advance(0, 1, Mark(2, "r2", NOON), HOUR)
                    await tx.positions.add_checkpoint(0, Mark(2, "r2", NOON))
                    await tx.positions.release(0, 1)
                    await tx.flush()
                    raise Unexpected
            async with one.transaction() as tx:
                histories = await tx.events.load("Order", "t1", ["a", "b"])
                assert [(e.id, e.version) for h in histories.values() for e in h.events] == []
                assert [h.snapshot and h.snapshot.version for h in histories.values()] == [1]
                assert await tx.rows(Parcel).load(["a", "b"]) == [parcel("a")]
                assert await tx.inbox.find(["a", "b"]) == {"a": Claim(message_id="a", row_id="r")}
                assert ids(await tx.waiting_room.heads(0, due(NOON), 10)) == ["1"]
                assert await tx.positions.get(0) == Mark(1, "r1", NOON)
                assert list(await tx.positions.checkpoints(0)) == [Mark(1, "r1", NOON)]
                await tx.positions.advance(0, 1, None, HOUR)
            assert await self.outbox(database) == []

    async def test_the_outbox_keeps_the_order_of_its_messages(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.outbox.add([envelope("m3", "x"), envelope("m1", "y"), envelope("m2", "z")])
                await tx.outbox.add([envelope("m0", "x")])
            async with database.transaction() as tx:
                await tx.outbox.add([envelope("m4")])
            assert await self.outbox(database) == ["m3", "m1", "m2", "m0", "m4"]

    @abstractmethod
    async def outbox(self, database: OpenDatabase) -> list[str]:
        """Return the ids of the messages in the outbox, in the order of publishing."""
