"""The accounting service's HTTP API."""

from accounting.application import queries
from accounting.application.commands import DisableAccount, EnableAccount
from accounting.application.unit_of_work import AccountingUnitOfWork
from accounting.domain.errors import AccountIsDisabled, AccountIsEnabled, AccountNotFound
from kernel.values import ConsumerId
from shared.processing.command_queue import CommandQueue
from shared.unit_of_work.unit_of_work import Units
from shared.web.documents import AN_ID, example
from shared.web.parameters import IdAnswer, IdInPath
from shared.web.problems import problems
from shared.web.routes import Routes

AN_ACCOUNT = {"id": AN_ID, "name": "Ada Lovelace", "enabled": True, "authorized_total": 2468}


def routes(commands: CommandQueue[AccountingUnitOfWork], units: Units[AccountingUnitOfWork]) -> Routes:
    """The routes of the API."""
    router = Routes(prefix="/api", tags=["accounts"])

    @router.get("/accounts/{id}", responses=problems(AccountNotFound) | example(200, AN_ACCOUNT))
    async def get_account(id_: IdInPath) -> queries.AccountView:
        """The account of a consumer; it is made shortly after the consumer registered."""
        async with units.begin() as uow:
            return await queries.get_account(ConsumerId(id_), uow)

    @router.put("/accounts/{id}/disable", responses=problems(AccountNotFound, AccountIsDisabled))
    async def disable_account(id_: IdInPath) -> IdAnswer:
        """Refuses all authorizations from now on."""
        await commands.execute(DisableAccount(consumer_id=ConsumerId(id_)))
        return IdAnswer(id=id_)

    @router.put("/accounts/{id}/enable", responses=problems(AccountNotFound, AccountIsEnabled))
    async def enable_account(id_: IdInPath) -> IdAnswer:
        """Allows authorizations again."""
        await commands.execute(EnableAccount(consumer_id=ConsumerId(id_)))
        return IdAnswer(id=id_)

    return router
