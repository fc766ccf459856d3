"""The order service's addresses in memory."""

import json

from kernel.values import ConsumerId, OrderId
from order.application.unit_of_work import OrderUnitOfWork
from order.contracts import OrderCreated
from order.domain.order import Order
from shared.adapters.memory.database import MemoryTransaction
from shared.core.clock import Clock
from shared.core.policy import Policy


class MemoryAddresses:
    """The delivery addresses of orders, from the rows of a memory transaction."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._events = transaction.database.events

    async def order_of(self, consumer_id: ConsumerId) -> OrderId | None:
        """Returns one of the consumer's orders whose address is still stored, if there is one."""
        created = (
            (id_, json.loads(stream[0].data))
            for (aggregate, id_), stream in self._events.items()
            if aggregate == Order.aggregate_name and stream and stream[0].type == OrderCreated.type_name
        )
        found = (
            OrderId(id_)
            for id_, data in created
            if data["consumer_id"] == consumer_id and data["deliver_to"]["street1"]
        )
        return next(found, None)


def unit_of_work(transaction: MemoryTransaction, clock: Clock, policy: Policy) -> OrderUnitOfWork:
    """Returns the order service's unit of work on a memory database."""
    return OrderUnitOfWork(transaction, clock, policy, MemoryAddresses(transaction))
