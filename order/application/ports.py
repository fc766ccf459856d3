"""What the order service needs of its database beyond aggregates and rows: an adapter for each database has it."""

from typing import Protocol

from kernel.values import ConsumerId, OrderId


class Addresses(Protocol):
    """The delivery addresses of orders, for handlers that have to erase them."""

    async def order_of(self, consumer_id: ConsumerId) -> OrderId | None:
        """Returns one of the consumer's orders whose address is still stored, if there is one."""
