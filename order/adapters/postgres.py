"""Where the order service keeps its rows in PostgreSQL, and how it finds a consumer's addresses."""

from sqlalchemy import Table, text

from kernel.values import ConsumerId, OrderId
from order.application.unit_of_work import OrderUnitOfWork
from order.domain.erased_consumer import ErasedConsumer
from order.domain.restaurant import Restaurant
from shared.adapters.postgres.database import PostgresTransaction
from shared.adapters.postgres.tables import table_of
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity

TABLES: dict[type[Entity], Table] = {
    Restaurant: table_of(Restaurant, "restaurants"),
    ErasedConsumer: table_of(ErasedConsumer, "erased_consumers"),
}

# The conditions are those of the partial index, which has only the rows that this looks for.
_ORDER_WITH_ADDRESS = text("""
select id from events
where aggregate = 'Order' and type = 'order.OrderCreated' and data -> 'deliver_to' ->> 'street1' <> ''
    and data ->> 'consumer_id' = :consumer_id
limit 1
""")


class PostgresAddresses:
    """The delivery addresses of orders, found by SQL in the transaction."""

    def __init__(self, transaction: PostgresTransaction) -> None:
        self._connection = transaction.connection

    async def order_of(self, consumer_id: ConsumerId) -> OrderId | None:
        """Returns one of the consumer's orders whose address is still stored, if there is one."""
        found: OrderId | None = await self._connection.scalar(_ORDER_WITH_ADDRESS, {"consumer_id": consumer_id})
        return found


def unit_of_work(transaction: PostgresTransaction, clock: Clock, policy: Policy) -> OrderUnitOfWork:
    """Returns the order service's unit of work on PostgreSQL."""
    return OrderUnitOfWork(transaction, clock, policy, PostgresAddresses(transaction))
