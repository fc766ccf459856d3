"""Where the delivery service keeps its rows in PostgreSQL, and who is first in its lines."""

from sqlalchemy import Table, literal, select, text, true

from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.courier import Courier
from delivery.domain.delivery import Delivery, DeliveryStatus
from delivery.domain.restaurant import Restaurant
from kernel.values import CourierId, OrderId
from shared.adapters.postgres.database import PostgresTransaction
from shared.adapters.postgres.tables import table_of
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity

_restaurants = table_of(Restaurant, "restaurants")
_couriers = table_of(Courier, "couriers")
_deliveries = table_of(Delivery, "deliveries")

TABLES: dict[type[Entity], Table] = {Restaurant: _restaurants, Courier: _couriers, Delivery: _deliveries}

_LOCK = text("select pg_advisory_xact_lock(hashtext('delivery'), hashtext('lines'))")

# Written into the statement, not sent as parameters: otherwise the partial index might not be used.
_PENDING = literal(DeliveryStatus.PENDING.value, literal_execute=True)
_waiting = (
    select(_deliveries.c.id)
    .where(_deliveries.c.status == _PENDING, _deliveries.c.accepted_at.is_not(None))
    .order_by(_deliveries.c.accepted_at, _deliveries.c.id)
    .limit(1)
    .subquery("waiting")
)
_free = (
    select(_couriers.c.id)
    .where(_couriers.c.free_since.is_not(None))
    .order_by(_couriers.c.free_since, _couriers.c.id)
    .limit(1)
    .subquery("free")
)
_FIRST_OF_BOTH = select(_waiting.c.id, _free.c.id).join_from(_waiting, _free, true())


class PostgresLines:
    """The two waiting lines, found by SQL in the transaction."""

    def __init__(self, transaction: PostgresTransaction) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._locked = False

    async def lock(self) -> None:
        """Locks the lines: no other transaction can look at them until this one ends.

        Queries after it see everything that was committed before it.
        """
        if not self._locked:
            await self._transaction.hold_locks()
            await self._connection.execute(_LOCK)
            self._locked = True

    async def first_of_both(self) -> tuple[OrderId, CourierId] | None:
        """Returns the delivery that has waited longest and the courier free longest; None if either is missing."""
        row = (await self._connection.execute(_FIRST_OF_BOTH)).first()
        return None if row is None else (OrderId(row[0]), CourierId(row[1]))


def unit_of_work(transaction: PostgresTransaction, clock: Clock, policy: Policy) -> DeliveryUnitOfWork:
    """Returns the delivery service's unit of work on PostgreSQL."""
    return DeliveryUnitOfWork(transaction, clock, policy, PostgresLines(transaction))
