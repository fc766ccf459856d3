"""Each replica works out from what it sees how many partitions are for it, and all come to the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.processing.shares import held_by, new_holder, new_replica, share_of


@pytest.mark.parametrize(
    ("partitions", "held", "shares"),
    [
        (4, [4], [4]),
        (4, [4, 0], [2, 2]),
        (4, [2, 2, 0], [2, 1, 1]),
        (4, [1, 3], [2, 2]),
        (1, [1, 0], [1, 0]),
        (2, [1, 1, 0], [1, 1, 0]),
        (5, [2, 3], [2, 3]),
    ],
)
def test_who_holds_more_keeps_more(partitions: int, held: list[int], shares: list[int]) -> None:
    replicas = sorted(new_replica() for _ in held)
    numbers = iter(range(partitions))
    present: dict[int, int | None] = {new_holder(replica): None for replica in replicas}
    for replica, count in zip(replicas, held, strict=True):
        present |= {new_holder(replica): next(numbers) for _ in range(count)}
    assert [share_of(replica, partitions, present) for replica in replicas] == shares
    assert [len(held_by(replica, present)) for replica in replicas] == held


@given(st.integers(1, 64), st.integers(1, 9), st.data())
def test_the_shares_come_to_all_partitions_and_nobody_has_two_more_than_another(
    partitions: int, count: int, data: st.DataObject
) -> None:
    replicas = [new_replica() for _ in range(count)]
    present: dict[int, int | None] = {new_holder(replica): None for replica in replicas}
    for partition in range(partitions):
        present[new_holder(data.draw(st.sampled_from(replicas)))] = partition
    shares = [share_of(replica, partitions, present) for replica in replicas]
    assert sum(shares) == partitions
    assert max(shares) - min(shares) <= 1


def test_a_process_that_nobody_has_heard_of_yet_counts_for_itself() -> None:
    other = new_replica()
    assert share_of(new_replica(), 4, {new_holder(other): 0, new_holder(other): 1}) == 2
