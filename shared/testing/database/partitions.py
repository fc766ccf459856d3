"""Tests of positions and leases that every database must pass."""

from datetime import timedelta

import pytest

from shared.core.errors import LeaseLost
from shared.messaging.broker import Mark
from shared.testing.database.given import HOUR, NOON, SECOND, Databases


class PartitionSuite:
    """Tests of a partition's holder and position."""

    async def test_a_partition_that_nobody_holds_can_be_taken(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, one.transaction() as tx:
            assert await tx.positions.take(0, 1, HOUR)
            assert await tx.positions.take(0, 1, HOUR), "its holder may take it again"
            assert await tx.positions.take(1, 1, HOUR)
            assert await tx.positions.get(0) is None

    async def test_a_partition_is_not_taken_from_a_holder_that_lives(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, HOUR)
            async with two.transaction() as tx:
                assert not await tx.positions.take(0, 2, HOUR)
            async with one.transaction() as tx:
                await tx.positions.advance(0, 1, None, HOUR)

    async def test_a_stopped_holder_is_replaced_when_its_lease_has_ended(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, timedelta(0))
            async with two.transaction() as tx:
                assert await tx.positions.take(0, 2, HOUR)
            with pytest.raises(LeaseLost):
                async with one.transaction() as tx:
                    await tx.positions.advance(0, 1, Mark(7, "r7", NOON), HOUR)
            async with two.transaction() as tx:
                assert await tx.positions.get(0) is None

    async def test_a_lease_from_before_the_clock_was_set_back_has_ended(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, 3 * HOUR)  # like a lease from a clock three hours ahead
            async with two.transaction() as tx:
                assert not await tx.positions.take(0, 2, 2 * HOUR)
                assert await tx.positions.take(0, 2, SECOND)

    async def test_each_advance_renews_the_lease(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, timedelta(0))
                await tx.positions.advance(0, 1, None, HOUR)
            async with two.transaction() as tx:
                assert not await tx.positions.take(0, 2, HOUR)

    async def test_a_partition_that_was_let_go_can_be_taken_at_once(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, HOUR)
            async with two.transaction() as tx:
                await tx.positions.release(0, 2)
                assert not await tx.positions.take(0, 2, HOUR), "only the holder lets go"
            async with one.transaction() as tx:
                await tx.positions.release(0, 1)
            async with two.transaction() as tx:
                assert await tx.positions.take(0, 2, HOUR)

    async def test_who_is_patient_leaves_a_free_partition_to_others_until_the_lease_has_ended(
        self, databases: Databases
    ) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            for lease in (HOUR, timedelta(0)):
                async with one.transaction() as tx:
                    assert await tx.positions.take(0, 1, lease)
                async with two.transaction() as tx:
                    assert not await tx.positions.is_free(0)
                async with one.transaction() as tx:
                    await tx.positions.release(0, 1)
                async with two.transaction() as tx:
                    assert await tx.positions.is_free(0)
                    assert await tx.positions.take(0, 2, HOUR, patient=True) is (lease != HOUR)
            async with one.transaction() as tx:
                assert not await tx.positions.take(1, 1, HOUR, patient=True), "nobody has had it"

    async def test_those_present_are_seen_with_what_they_hold(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one:
            async with database.session(2):
                async with one.transaction() as tx:
                    assert await tx.positions.take(5, 1, HOUR)
                async with one.transaction() as tx:
                    assert await tx.positions.present(HOUR) == {1: 5, 2: None}
            async with one.transaction() as tx:
                assert await tx.positions.present(HOUR) == {1: 5}

    async def test_the_position_stays_when_only_the_lease_is_renewed(self, databases: Databases) -> None:
        mark = Mark(7, "r7", NOON)
        async with databases() as database, database.session(1) as one:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, HOUR)
                await tx.positions.advance(0, 1, mark, HOUR)
            async with one.transaction() as tx:
                await tx.positions.advance(0, 1, None, HOUR)
                assert await tx.positions.get(0) == mark
                assert await tx.positions.get(1) is None

    async def test_checkpoints_come_furthest_first_and_once_a_position(self, databases: Databases) -> None:
        first, second, again = Mark(3, "r3", NOON), Mark(9, "r9", NOON + SECOND), Mark(3, "other", NOON + HOUR)
        async with databases() as database:
            for partition, mark in ((0, first), (1, Mark(1, "r1", NOON)), (0, second), (0, again)):
                async with database.transaction() as tx:
                    await tx.positions.add_checkpoint(partition, mark)
            async with database.transaction() as tx:
                assert list(await tx.positions.checkpoints(0)) == [second, again]
                assert list(await tx.positions.checkpoints(2)) == []
