"""How far a subscription has come, kept where its effects are kept."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from shared.messaging.broker import Mark
from shared.messaging.chain import Missing


class Positions(Protocol):
    """How far a service has come in each partition, and who may go on; in one transaction."""

    async def take(self, partition: int, holder: int, lease: timedelta, *, patient: bool = False) -> bool:
        """Make `holder` the holder, if it is, if nobody else is, or if the one there is has stopped or died.

        One that is patient leaves it to others until the lease has ended, even though nobody holds it any more.
        """

    async def is_free(self, partition: int) -> bool:
        """Return whether nobody holds it, or somebody who has died."""

    async def present(self, silence: timedelta) -> Mapping[int, int | None]:
        """Return the sessions that have been heard of within that time, by their holders' numbers, and what each holds."""

    async def release(self, partition: int, holder: int) -> None:
        """Let go, for another to take at once."""

    async def get(self, partition: int) -> Mark | None:
        """Return the last message handled; None before the first."""

    async def heads(self, partition: int) -> Mapping[str, int]:
        """Return the row that came last from each sender, by the chains of links; see `chain.Chains`."""

    async def advance(
        self, partition: int, holder: int, mark: Mark | None, lease: timedelta, heads: Mapping[str, int] | None = None
    ) -> None:
        """Move to `mark`, or stays (None), and renews the lease; raises LeaseLost when another holds it.

        `heads` are the ends of the chains there, where they have changed.
        """

    async def add_checkpoint(self, partition: int, mark: Mark) -> None:
        """Remember a position to go back to."""

    async def checkpoints(self, partition: int) -> Sequence[Mark]:
        """Return the positions remembered, the furthest first: each that the stream still confirms is one to go back to."""

    async def note_missing(self, missing: Sequence[Missing]) -> None:
        """Write down what can't be got again, once, for a person to see."""

    async def missing(self) -> Sequence[Missing]:
        """Return what was written down so, of all partitions."""
