"""The position of a subscription in the stream, stored in the same database as its effects."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from shared.messaging.broker import Mark
from shared.messaging.chain import Missing


class Positions(Protocol):
    """A service's position in each partition and the partition's holder, in one transaction."""

    async def take(self, partition: int, holder: int, lease: timedelta, *, patient: bool = False) -> bool:
        """Make `holder` the partition's holder if possible, and return whether it is.

        It is possible if `holder` has it already, if nobody has it, or if its holder's lease has ended or its holder
        has died. With `patient`, a partition that nobody holds is left to others until its last lease has ended.
        """

    async def is_free(self, partition: int) -> bool:
        """Return whether the partition has no holder, or one that has died."""

    async def present(self, silence: timedelta) -> Mapping[int, int | None]:
        """Return the partition (or None) held by each session active within `silence`, by holder number."""

    async def release(self, partition: int, holder: int) -> None:
        """Release the partition, so that another can take it at once."""

    async def get(self, partition: int) -> Mark | None:
        """Return the last message handled; None before the first."""

    async def heads(self, partition: int) -> Mapping[str, int]:
        """Return the last row from each sender, by the chains of links; see `chain.Chains`."""

    async def advance(
        self, partition: int, holder: int, mark: Mark | None, lease: timedelta, heads: Mapping[str, int] | None = None
    ) -> None:
        """Move to `mark` (None: stay) and renew the lease; raise LeaseLost when another holds the partition.

        `heads` are the heads of the chains at that position, if they have changed.
        """

    async def add_checkpoint(self, partition: int, mark: Mark) -> None:
        """Store a position to go back to."""

    async def checkpoints(self, partition: int) -> Sequence[Mark]:
        """Return the stored checkpoints, the furthest first. Go back only to one that the stream confirms."""

    async def note_missing(self, missing: Sequence[Missing]) -> None:
        """Record messages that cannot be obtained again, each once, for an operator."""

    async def missing(self) -> Sequence[Missing]:
        """Return the recorded missing messages of all partitions."""
