"""The unit of work of the accounting service."""

from accounting.domain.account import Account
from accounting.domain.errors import AccountNotFound
from kernel.values import ConsumerId
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork


class AccountingUnitOfWork(UnitOfWork):
    """The unit of work of the accounting service, with its accounts."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy) -> None:
        super().__init__(transaction, clock, policy)
        self.accounts = self.aggregates(Account, ConsumerId, AccountNotFound)
