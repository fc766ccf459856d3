"""What the delivery service needs of its database beyond rows: an adapter for each database has it."""

from typing import Protocol

from kernel.values import CourierId, OrderId


class Lines(Protocol):
    """Two waiting lines: deliveries without a courier, and couriers that are free. At least one line is empty."""

    async def lock(self) -> None:
        """Locks the lines: no other transaction can look at them until this one ends."""

    async def first_of_both(self) -> tuple[OrderId, CourierId] | None:
        """Returns the delivery that has waited longest and the courier free longest; None if either is missing.

        It sees everything that has been written, also by this transaction.
        """
