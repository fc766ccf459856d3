"""How the replicas of a service share the partitions of the stream.

There is no coordinator. Each replica sees the other replicas and the partitions they hold, takes no more than its
share, and gives back the rest when another comes. A replica that holds more than others has the larger share, so that
few partitions move.
"""

import secrets
from collections import Counter
from collections.abc import Mapping

_BITS = 31


def new_replica() -> int:
    """Return a random number that identifies a process."""
    return secrets.randbits(_BITS)


def new_holder(replica: int) -> int:
    """Return a random number for one session of a process. It contains the number of the process."""
    return replica << _BITS | secrets.randbits(_BITS)


def held_by(replica: int, present: Mapping[int, int | None]) -> list[int]:
    """Return the partitions that a replica holds. `present` has all sessions, with the partition that each holds."""
    return sorted(
        partition for holder, partition in present.items() if partition is not None and _replica_of(holder) == replica
    )


def share_of(replica: int, partitions: int, present: Mapping[int, int | None]) -> int:
    """Return how many partitions a replica may hold."""
    held = Counter({replica: 0})
    for holder, partition in present.items():
        held[_replica_of(holder)] += partition is not None
    ranking = sorted(held, key=lambda each: (-held[each], each))
    each_has, one_more = divmod(partitions, len(ranking))
    return each_has + (ranking.index(replica) < one_more)


def _replica_of(holder: int) -> int:
    return holder >> _BITS
