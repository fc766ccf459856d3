"""How far a subscription has come, kept where its effects are kept."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from shared.messaging.broker import Mark


class Positions(Protocol):
    """How far a service has come in each partition, and who may go on; in one transaction."""

    async def take(self, partition: int, holder: int, lease: timedelta) -> bool:
        """Makes `holder` the holder, if it is, if nobody else is, or if the one there is has stopped or died."""

    async def release(self, partition: int, holder: int) -> None:
        """Lets go, for another to take at once."""

    async def get(self, partition: int) -> Mark | None:
        """The last message handled; None before the first."""

    async def advance(self, partition: int, holder: int, mark: Mark | None, lease: timedelta) -> None:
        """Moves to `mark`, or stays (None), and renews the lease; raises LeaseLost when another holds it."""

    async def add_checkpoint(self, partition: int, mark: Mark) -> None:
        """Remembers a position to go back to."""

    async def checkpoints(self, partition: int) -> Sequence[Mark]:
        """The positions remembered, the newest first."""
