"""What the order service's handlers work with."""

from order.domain.errors import OrderNotFound, RestaurantNotFound
from order.domain.order import Order
from order.domain.restaurant import Restaurant
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.core.values import OrderId, RestaurantId
from shared.unit_of_work import Transaction, UnitOfWork


class OrderUnitOfWork(UnitOfWork):
    """Orders and the copy of restaurants."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy) -> None:
        super().__init__(transaction, clock, policy)
        self.orders = self.aggregates(Order, OrderId, OrderNotFound)
        self.restaurants = self.entities(Restaurant, RestaurantId, RestaurantNotFound)
