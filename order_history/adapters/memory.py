"""The search for orders in memory."""

from collections.abc import Sequence

from kernel.values import OrderId
from order_history.history import Criteria, OrderHistoryUnitOfWork, OrderRecord, Place
from shared.adapters.memory.database import MemoryTransaction
from shared.core.clock import Clock
from shared.core.policy import Policy


class MemoryOrderSearch:
    """Finds orders among the rows of a memory transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._table = transaction.database.tables[OrderRecord]

    async def find(self, criteria: Criteria, *, before: Place | None, limit: int) -> Sequence[OrderId]:
        """Returns their ids, newest first, only those older than `before`."""
        found = [
            place
            for order in self._table.values()
            if isinstance(order, OrderRecord)
            and (place := _place_of(order)) is not None
            and order.consumer_id == criteria.consumer_id
            and (criteria.since is None or place[0] >= criteria.since)
            and (criteria.status is None or order.status is criteria.status)
            and criteria.words.issubset(order.words.split())
            and (before is None or place < before)
        ]
        return [id_ for _, id_ in sorted(found, reverse=True)[:limit]]


def unit_of_work(transaction: MemoryTransaction, clock: Clock, policy: Policy) -> OrderHistoryUnitOfWork:
    """Returns the order history's unit of work on a memory database."""
    return OrderHistoryUnitOfWork(transaction, clock, policy, MemoryOrderSearch(transaction))


def _place_of(order: OrderRecord) -> Place | None:
    return None if order.created_at is None else (order.created_at, OrderId(order.id))
