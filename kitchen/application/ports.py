"""What the kitchen service needs of its database beyond aggregates and rows: an adapter for each database has it."""

from collections.abc import Sequence
from typing import Protocol

from kernel.values import OrderId, RestaurantId, TicketId
from kitchen.domain.ticket import TicketStatus


class TicketSearch(Protocol):
    """Finds tickets by search criteria."""

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
