"""The consumer service's composition root."""

from dependency_injector import containers, providers

from consumer.adapters import http
from consumer.application import commands
from consumer.application.ports import ConsumerUnitOfWork
from shared.messaging.handlers import Handlers
from shared.runtime.container import ServiceContainer
from shared.runtime.topology import BY_NAME


@containers.copy(ServiceContainer)
class Container(ServiceContainer):
    """What the consumer service is made of."""

    info = providers.Object(BY_NAME["consumer"])
    description = providers.Object("Knows who orders, and where to.")
    handlers = providers.Singleton(lambda: Handlers.of(commands))
    unit_of_work = providers.Object(ConsumerUnitOfWork)
    api = providers.Object(http.routes)
