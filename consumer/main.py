"""The consumer service's composition root."""

from consumer.adapters import http
from consumer.application import commands
from consumer.application.unit_of_work import ConsumerUnitOfWork
from kernel.topology import BY_NAME
from kernel.web import TAGS
from shared.host.container import ServiceContainer
from shared.messaging.handlers import Handlers


def container() -> ServiceContainer:
    """Returns the parts that the consumer service is made of."""
    return ServiceContainer(
        info=BY_NAME["consumer"],
        description="Knows who orders, and where to.",
        handlers=Handlers.of(commands),
        unit_of_work=ConsumerUnitOfWork,
        api=http.routes,
        tags=TAGS,
    )
