"""What the kitchen service needs of its database beyond aggregates and rows: an adapter for each database has it."""

from collections.abc import Sequence
from typing import Protocol

from kernel.values import OrderId, RestaurantId, TicketId
from kitchen.domain.ticket import TicketStatus


class TicketSearch(Protocol):
    """Finds tickets by what they are about."""

    async def find(
        self,
        *,
        order_id: OrderId | None,
        restaurant_id: RestaurantId | None,
        status: TicketStatus | None,
        before: TicketId | None,
        limit: int,
    ) -> Sequence[TicketId]:
        """Their ids, the newest first, those made before `before` only; each criterion that is None fits all."""
