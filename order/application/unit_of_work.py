"""The unit of work of the order service."""

from kernel.values import OrderId, RestaurantId
from order.application.ports import Addresses
from order.domain.erased_consumer import ErasedConsumer
from order.domain.errors import OrderNotFound, RestaurantNotFound
from order.domain.order import Order
from order.domain.restaurant import Restaurant
from shared.core.clock import Clock
from shared.core.errors import NotFound
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork


class OrderUnitOfWork(UnitOfWork):
    """The unit of work of the order service, with orders and the copy of restaurants."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy, addresses: Addresses) -> None:
        super().__init__(transaction, clock, policy)
        self.addresses = addresses
        self.erased_consumers = self.entities(ErasedConsumer, None, NotFound)
        self.orders = self.aggregates(Order, OrderId, OrderNotFound)
        self.restaurants = self.entities(Restaurant, RestaurantId, RestaurantNotFound)
