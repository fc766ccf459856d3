"""The consumer service's composition root."""

from consumer.adapters import http
from consumer.application import commands
from consumer.application.ports import ConsumerUnitOfWork
from shared.messaging.handlers import Handlers
from shared.runtime.container import ServiceContainer
from shared.runtime.topology import BY_NAME


def container() -> ServiceContainer:
    """What the consumer service is made of."""
    return ServiceContainer(
        info=BY_NAME["consumer"],
        description="Knows who orders, and where to.",
        handlers=Handlers.of(commands),
        unit_of_work=ConsumerUnitOfWork,
        api=http.routes,
    )
