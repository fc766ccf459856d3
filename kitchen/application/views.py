"""What restaurants see of tickets."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from kernel.values import LineItem, OrderId, RestaurantId
from kitchen.domain.ticket import Ticket, TicketStatus
from shared.eventsourcing.aggregate import Entity


@dataclass(kw_only=True)
class TicketView(Entity):
    """A ticket as restaurants see it: a row, so that tickets can be searched."""

    order_id: OrderId
    restaurant_id: RestaurantId
    status: TicketStatus
    line_items: tuple[LineItem, ...]
    accepted_at: datetime | None
    ready_by: datetime | None

    @classmethod
    def of(cls, ticket: Ticket) -> Self:
        """Returns the view of a ticket as it is now."""
        return cls(
            id=ticket.id,
            version=ticket.version,
            order_id=ticket.order_id,
            restaurant_id=ticket.restaurant_id,
            status=ticket.status,
            line_items=ticket.line_items,
            accepted_at=ticket.accepted_at,
            ready_by=ticket.ready_by,
        )
