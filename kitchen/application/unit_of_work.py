"""The unit of work of the kitchen service."""

from kernel.values import RestaurantId, TicketId
from kitchen.application.ports import TicketSearch
from kitchen.application.views import TicketView
from kitchen.domain.errors import RestaurantNotFound, TicketNotFound
from kitchen.domain.restaurant import Restaurant
from kitchen.domain.ticket import Ticket
from shared.core.clock import Clock
from shared.core.errors import NotFound
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork


class KitchenUnitOfWork(UnitOfWork):
    """Tickets and the kitchen's copy of restaurants. A ticket's view is written with its events."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy, search: TicketSearch) -> None:
        super().__init__(transaction, clock, policy)
        self.tickets = self.aggregates(Ticket, TicketId, TicketNotFound, on_change=self._show)
        self.restaurants = self.entities(Restaurant, RestaurantId, RestaurantNotFound)
        self.ticket_views = self.entities(TicketView, None, NotFound)
        self.search = search

    def _show(self, ticket: Ticket, version_before: int) -> None:
        self.ticket_views.put(TicketView.of(ticket), replaces=version_before)
