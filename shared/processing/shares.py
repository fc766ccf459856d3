"""How the replicas of a service share the partitions of the stream.

Nobody hands them out. Each replica sees who else is there and what everybody holds, takes no more than its share, and
gives back what is beyond it when another comes. Who holds more keeps more, so that as little as possible moves.
"""

import secrets
from collections import Counter
from collections.abc import Mapping

_BITS = 31


def new_replica() -> int:
    """Return a number for a process."""
    return secrets.randbits(_BITS)


def new_holder(replica: int) -> int:
    """Return a number for one session of a process: it tells whose it is."""
    return replica << _BITS | secrets.randbits(_BITS)


def held_by(replica: int, present: Mapping[int, int | None]) -> list[int]:
    """Return the partitions that a replica holds. `present` are all sessions, with what each holds."""
    return sorted(
        partition for holder, partition in present.items() if partition is not None and _replica_of(holder) == replica
    )


def share_of(replica: int, partitions: int, present: Mapping[int, int | None]) -> int:
    """Return how many partitions are for a replica."""
    held = Counter({replica: 0})
    for holder, partition in present.items():
        held[_replica_of(holder)] += partition is not None
    ranking = sorted(held, key=lambda each: (-held[each], each))
    each_has, one_more = divmod(partitions, len(ranking))
    return each_has + (ranking.index(replica) < one_more)


def _replica_of(holder: int) -> int:
    return holder >> _BITS
