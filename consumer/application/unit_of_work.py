"""The unit of work of the consumer service."""

from consumer.domain.consumer import Consumer
from consumer.domain.errors import ConsumerNotFound
from kernel.values import ConsumerId
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork


class ConsumerUnitOfWork(UnitOfWork):
    """The unit of work of the consumer service, with its consumers."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy) -> None:
        super().__init__(transaction, clock, policy)
        self.consumers = self.aggregates(Consumer, ConsumerId, ConsumerNotFound)
