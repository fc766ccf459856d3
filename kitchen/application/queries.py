"""What clients can learn of tickets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from kitchen.domain.errors import TicketNotFound
from kitchen.domain.ticket import Ticket, TicketStatus
from shared.core.values import LineItem, OrderId, RestaurantId, TicketId
from shared.eventsourcing.aggregate import Entity

if TYPE_CHECKING:
    from kitchen.application.ports import KitchenUnitOfWork


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
    def of(cls, ticket: Ticket) -> "TicketView":
        """The view of a ticket as it is now."""
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


async def get_ticket(ticket_id: TicketId, uow: "KitchenUnitOfWork") -> TicketView:
    """Raises TicketNotFound."""
    view = await uow.ticket_views.find(ticket_id)
    if view is None:
        raise TicketNotFound
    return view


async def find_tickets(
    uow: "KitchenUnitOfWork",
    *,
    order_id: OrderId | None,
    restaurant_id: RestaurantId | None,
    status: TicketStatus | None,
    before: TicketId | None,
    limit: int,
) -> tuple[Sequence[TicketView], TicketId | None]:
    """A page of tickets, the newest first, and where the next one begins; None after the last.

    Large tickets make a page of fewer.
    """
    found = await uow.search.find(
        order_id=order_id, restaurant_id=restaurant_id, status=status, before=before, limit=limit + 1
    )
    page = await uow.ticket_views.first_of(found[:limit])
    return page, TicketId(page[-1].id) if page and len(found) > len(page) else None
