"""What the order service needs of its database beyond aggregates and rows: an adapter for each database has it."""

from typing import Protocol

from kernel.values import ConsumerId, OrderId


class Addresses(Protocol):
    """Where orders are to be delivered, for those who have to forget it."""

    async def order_of(self, consumer_id: ConsumerId) -> OrderId | None:
        """An order of the consumer's whose address is still known, if there is one."""
