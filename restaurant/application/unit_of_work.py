"""The unit of work of the restaurant service."""

from kernel.values import RestaurantId
from restaurant.domain.errors import RestaurantNotFound
from restaurant.domain.restaurant import Restaurant
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork


class RestaurantUnitOfWork(UnitOfWork):
    """The unit of work of the restaurant service, with its restaurants."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy) -> None:
        super().__init__(transaction, clock, policy)
        self.restaurants = self.entities(Restaurant, RestaurantId, RestaurantNotFound)
