"""The kitchen service's composition root."""

from dependency_injector import containers, providers

from kitchen.adapters import http, postgres
from kitchen.application import commands, reactions
from shared.messaging.handlers import Handlers
from shared.runtime.container import ServiceContainer
from shared.runtime.topology import BY_NAME


@containers.copy(ServiceContainer)
class Container(ServiceContainer):
    """What the kitchen service is made of."""

    info = providers.Object(BY_NAME["kitchen"])
    description = providers.Object("Keeps the tickets of restaurants, from an order to a dish that is ready.")
    handlers = providers.Singleton(lambda: Handlers.of(commands, reactions))
    unit_of_work = providers.Object(postgres.unit_of_work)
    tables = providers.Singleton(lambda: postgres.TABLES)
    api = providers.Object(http.routes)
