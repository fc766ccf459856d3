"""The queries that clients can ask about accounts."""

from dataclasses import dataclass

from accounting.application.unit_of_work import AccountingUnitOfWork
from kernel.values import ConsumerId, Money


@dataclass(frozen=True, kw_only=True)
class AccountView:
    """An account. `authorized_total` is the sum of its standing authorizations, in cents."""

    id: ConsumerId
    name: str
    enabled: bool
    authorized_total: Money


async def get_account(consumer_id: ConsumerId, uow: AccountingUnitOfWork) -> AccountView:
    """Raises AccountNotFound."""
    account = await uow.accounts.get(consumer_id)
    return AccountView(
        id=account.consumer_id,
        name=account.name,
        enabled=account.enabled,
        authorized_total=account.authorized_total,
    )
