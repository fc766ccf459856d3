"""The unit of work of the delivery service."""

from delivery.application.ports import Lines
from delivery.domain.courier import Courier
from delivery.domain.delivery import Delivery
from delivery.domain.errors import CourierNotFound, DeliveryNotFound, RestaurantNotFound
from delivery.domain.restaurant import Restaurant
from kernel.values import CourierId, OrderId, RestaurantId
from shared.core.clock import Clock
from shared.core.errors import Conflict
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork


class DeliveryUnitOfWork(UnitOfWork):
    """The unit of work of the delivery service, with deliveries, couriers and the copy of restaurants."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy, lines: Lines) -> None:
        super().__init__(transaction, clock, policy)
        self.deliveries = self.entities(Delivery, OrderId, DeliveryNotFound)
        self.couriers = self.entities(Courier, CourierId, CourierNotFound)
        self.restaurants = self.entities(Restaurant, RestaurantId, RestaurantNotFound)
        self._lines = lines

    async def next_to_assign(self) -> tuple[Delivery, Courier] | None:
        """Returns the first delivery that waits and the first free courier, if there are both.

        Raises Conflict when one of them was read before another transaction changed it.
        """
        # Without the lock, a transaction that finds no courier and one that finds no delivery could pass each other
        # unseen, and both would wait for ever. It comes before the flush, so that nobody waits for it with rows locked.
        await self._lines.lock()
        await self.flush()
        first = await self._lines.first_of_both()
        if first is None:
            return None
        delivery, courier = await self.deliveries.find(first[0]), await self.couriers.find(first[1])
        if delivery is None or not delivery.waits_for_courier or courier is None or courier.free_since is None:
            raise Conflict(f"delivery {first[0]} or courier {first[1]} was changed by another transaction")
        return delivery, courier
