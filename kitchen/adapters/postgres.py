"""Where the kitchen service keeps its rows in PostgreSQL, and how it searches them."""

from collections.abc import Sequence

from sqlalchemy import Table, select

from kernel.values import OrderId, RestaurantId, TicketId
from kitchen.application.unit_of_work import KitchenUnitOfWork
from kitchen.application.views import TicketView
from kitchen.domain.restaurant import Restaurant
from kitchen.domain.ticket import TicketStatus
from shared.adapters.postgres.database import PostgresTransaction
from shared.adapters.postgres.tables import table_of
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity

_restaurants = table_of(Restaurant, "restaurants")
_tickets = table_of(TicketView, "tickets")

TABLES: dict[type[Entity], Table] = {Restaurant: _restaurants, TicketView: _tickets}


class PostgresTicketSearch:
    """Finds tickets by SQL in the transaction."""

    def __init__(self, transaction: PostgresTransaction) -> None:
        self._transaction = transaction

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
        newest_first = select(_tickets.c.id).order_by(_tickets.c.id.desc()).limit(limit)
        for column, wanted in (
            (_tickets.c.order_id, order_id),
            (_tickets.c.restaurant_id, restaurant_id),
            (_tickets.c.status, status),
        ):
            if wanted is not None:
                newest_first = newest_first.where(column == wanted)
        if before is not None:
            newest_first = newest_first.where(_tickets.c.id < before)
        return [TicketId(id_) for id_ in await self._transaction.connection.scalars(newest_first)]


def unit_of_work(transaction: PostgresTransaction, clock: Clock, policy: Policy) -> KitchenUnitOfWork:
    """Returns the kitchen's unit of work on PostgreSQL."""
    return KitchenUnitOfWork(transaction, clock, policy, PostgresTicketSearch(transaction))
