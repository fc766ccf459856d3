"""The commands that clients and sagas can send to the accounting service."""

from accounting.application.unit_of_work import AccountingUnitOfWork
from accounting.contracts import AuthorizeOrder, ReverseAuthorizeOrder, ReviseAuthorizeOrder
from kernel.values import ConsumerId
from shared.core.messages import Command
from shared.messaging.handlers import handles


class DisableAccount(Command):
    consumer_id: ConsumerId


class EnableAccount(Command):
    consumer_id: ConsumerId


@handles
async def disable_account(command: DisableAccount, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(command.consumer_id)
    account.disable()


@handles
async def enable_account(command: EnableAccount, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(command.consumer_id)
    account.enable()


@handles
async def authorize_order(command: AuthorizeOrder, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(command.consumer_id)
    account.authorize(command.order_id, command.order_total)


@handles
async def reverse_authorize_order(command: ReverseAuthorizeOrder, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(command.consumer_id)
    account.reverse(command.order_id, command.order_total)


@handles
async def revise_authorize_order(command: ReviseAuthorizeOrder, uow: AccountingUnitOfWork) -> None:
    account = await uow.accounts.get(command.consumer_id)
    account.revise(command.order_id, command.current_order_total, command.order_total)
