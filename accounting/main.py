"""The accounting service's composition root."""

from accounting.adapters import http
from accounting.application import commands, reactions
from accounting.application.unit_of_work import AccountingUnitOfWork
from kernel.topology import BY_NAME
from kernel.web import TAGS
from shared.host.container import ServiceContainer
from shared.messaging.handlers import Handlers


def container() -> ServiceContainer:
    """Returns the parts that the accounting service is made of."""
    return ServiceContainer(
        info=BY_NAME["accounting"],
        description="Says who may spend, and keeps what has been authorized.",
        handlers=Handlers.of(commands, reactions),
        unit_of_work=AccountingUnitOfWork,
        api=http.routes,
        tags=TAGS,
    )
