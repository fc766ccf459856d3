"""What the order service's handlers work with."""

from typing import Protocol

from kernel.values import ConsumerId, OrderId, RestaurantId
from order.domain.erased_consumer import ErasedConsumer
from order.domain.errors import OrderNotFound, RestaurantNotFound
from order.domain.order import Order
from order.domain.restaurant import Restaurant
from shared.core.clock import Clock
from shared.core.errors import NotFound
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork


class Addresses(Protocol):
    """Where orders are to be delivered, for those who have to forget it."""

    async def order_of(self, consumer_id: ConsumerId) -> OrderId | None:
        """An order of the consumer's whose address is still known, if there is one."""


class OrderUnitOfWork(UnitOfWork):
    """Orders and the copy of restaurants."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy, addresses: Addresses) -> None:
        super().__init__(transaction, clock, policy)
        self.addresses = addresses
        self.erased_consumers = self.entities(ErasedConsumer, None, NotFound)
        self.orders = self.aggregates(Order, OrderId, OrderNotFound)
        self.restaurants = self.entities(Restaurant, RestaurantId, RestaurantNotFound)
