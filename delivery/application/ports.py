"""What the delivery service needs of its database beyond rows: an adapter for each database has it."""

from typing import Protocol

from kernel.values import CourierId, OrderId


class Lines(Protocol):
    """Two lines: deliveries that wait for a courier, and couriers that are free. At least one of them is empty."""

    async def lock(self) -> None:
        """Lets no other transaction look at the lines until this one ends."""

    async def first_of_both(self) -> tuple[OrderId, CourierId] | None:
        """The delivery that has waited longest and the courier that has been free longest; None if either is missing.

        It sees what has been written, also by this transaction.
        """
