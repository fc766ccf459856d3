"""The delivery service's lines in memory."""

from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.courier import Courier
from delivery.domain.delivery import Delivery
from kernel.values import CourierId, OrderId
from shared.adapters.memory.database import MemoryTransaction
from shared.core.clock import Clock
from shared.core.policy import Policy


class MemoryLines:
    """The two waiting lines, found in the rows of a memory transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._tables = transaction.database.tables

    async def lock(self) -> None:
        """Does nothing: a memory database has one transaction at a time."""

    async def first_of_both(self) -> tuple[OrderId, CourierId] | None:
        """Returns the delivery that has waited longest and the courier free longest; None if either is missing."""
        waiting = min(
            (
                (row.accepted_at, row.order_id)
                for row in self._tables[Delivery].values()
                if isinstance(row, Delivery) and row.waits_for_courier and row.accepted_at is not None
            ),
            default=None,
        )
        free = min(
            (
                (row.free_since, row.courier_id)
                for row in self._tables[Courier].values()
                if isinstance(row, Courier) and row.free_since is not None
            ),
            default=None,
        )
        return None if waiting is None or free is None else (waiting[1], free[1])


def unit_of_work(transaction: MemoryTransaction, clock: Clock, policy: Policy) -> DeliveryUnitOfWork:
    """Returns the delivery service's unit of work on a memory database."""
    return DeliveryUnitOfWork(transaction, clock, policy, MemoryLines(transaction))
