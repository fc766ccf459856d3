"""The queries that clients can ask about tickets."""

from collections.abc import Sequence

from kernel.values import OrderId, RestaurantId, TicketId
from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.application.views import TicketView
from kitchen.domain.errors import TicketNotFound
from kitchen.domain.ticket import TicketStatus


async def get_ticket(ticket_id: TicketId, uow: KitchenUnitOfWork) -> TicketView:
    """Raises TicketNotFound."""
    view = await uow.ticket_views.find(ticket_id)
    if view is None:
        raise TicketNotFound
    return view


async def find_tickets(
    uow: KitchenUnitOfWork,
    *,
    order_id: OrderId | None,
    restaurant_id: RestaurantId | None,
    status: TicketStatus | None,
    before: TicketId | None,
    limit: int,
) -> tuple[Sequence[TicketView], TicketId | None]:
    """Returns a page of tickets, newest first, and where the next page begins (None after the last page).

    If tickets are large, the page has fewer of them.
    """
    found = await uow.search.find(
        order_id=order_id, restaurant_id=restaurant_id, status=status, before=before, limit=limit + 1
    )
    page = await uow.ticket_views.first_of(found[:limit])
    return page, TicketId(page[-1].id) if page and len(found) > len(page) else None
