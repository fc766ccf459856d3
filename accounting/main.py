"""The accounting service's composition root."""

from dependency_injector import containers, providers

from accounting.adapters import http
from accounting.application import commands, reactions
from accounting.application.ports import AccountingUnitOfWork
from shared.messaging.handlers import Handlers
from shared.runtime.container import ServiceContainer
from shared.runtime.topology import BY_NAME


@containers.copy(ServiceContainer)
class Container(ServiceContainer):
    """What the accounting service is made of."""

    info = providers.Object(BY_NAME["accounting"])
    description = providers.Object("Says who may spend, and keeps what has been authorized.")
    handlers = providers.Singleton(lambda: Handlers.of(commands, reactions))
    unit_of_work = providers.Object(AccountingUnitOfWork)
    api = providers.Object(http.routes)
