"""The kitchen's ticket search in memory."""

from collections.abc import Sequence

from kernel.values import OrderId, RestaurantId, TicketId
from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.application.views import TicketView
from kitchen.domain.ticket import TicketStatus
from shared.adapters.memory.database import MemoryTransaction
from shared.core.clock import Clock
from shared.core.policy import Policy


class MemoryTicketSearch:
    """Finds tickets among the rows of a memory transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._table = transaction.database.tables[TicketView]

    async def find(
        self,
        *,
        order_id: OrderId | None,
        restaurant_id: RestaurantId | None,
        status: TicketStatus | None,
        before: TicketId | None,
        limit: int,
    ) -> Sequence[TicketId]:
        """Returns their ids, newest first, only those made before `before`. A criterion that is None fits all."""
        found = [
            TicketId(view.id)
            for view in self._table.values()
            if isinstance(view, TicketView)
            and (order_id is None or view.order_id == order_id)
            and (restaurant_id is None or view.restaurant_id == restaurant_id)
            and (status is None or view.status is status)
            and (before is None or view.id < before)
        ]
        return sorted(found, reverse=True)[:limit]


def unit_of_work(transaction: MemoryTransaction, clock: Clock, policy: Policy) -> KitchenUnitOfWork:
    """Returns the kitchen's unit of work on a memory database."""
    return KitchenUnitOfWork(transaction, clock, policy, MemoryTicketSearch(transaction))
