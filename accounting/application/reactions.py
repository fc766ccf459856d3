"""The reactions of the accounting service to events."""

from accounting.application.unit_of_work import AccountingUnitOfWork
from accounting.domain.account import Account
from accounting.domain.errors import AccountAlreadyExists
from consumer.contracts import ConsumerErased, ConsumerRegistered, ConsumerUpdated
from shared.messaging.handlers import handles


@handles
async def create_account(event: ConsumerRegistered, uow: AccountingUnitOfWork) -> None:
    if await uow.accounts.find(event.consumer_id) is not None:
        raise AccountAlreadyExists
    await uow.accounts.add(Account.open(event.consumer_id, event.name))


@handles
async def rename_account(event: ConsumerUpdated, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(event.consumer_id)
    account.rename(event.name)


@handles
async def erase_account_holder(event: ConsumerErased, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(event.consumer_id)
    account.erase_holder()
