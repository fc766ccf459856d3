"""What the accounting service does when something has happened."""

from accounting.application.unit_of_work import AccountingUnitOfWork
from accounting.domain.account import Account
from consumer.contracts import ConsumerErased, ConsumerRegistered, ConsumerUpdated
from shared.messaging.handlers import handles


@handles
async def create_account(event: ConsumerRegistered, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.find(event.consumer_id) or await uow.accounts.add(Account(id=event.consumer_id))
    account.create(event.name)


@handles
async def rename_account(event: ConsumerUpdated, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(event.consumer_id)
    account.rename(event.name)


@handles
async def erase_account_holder(event: ConsumerErased, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(event.consumer_id)
    account.erase_holder()
