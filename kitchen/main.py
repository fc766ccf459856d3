"""The kitchen service's composition root."""

from kernel.topology import BY_NAME
from kernel.web import TAGS
from kitchen.adapters import http, postgres
from kitchen.application import commands, reactions
from shared.host.container import ServiceContainer
from shared.messaging.handlers import Handlers


def container() -> ServiceContainer:
    """Returns the parts that the kitchen service is made of."""
    return ServiceContainer(
        info=BY_NAME["kitchen"],
        description="Keeps the tickets of restaurants, from an order to a dish that is ready.",
        handlers=Handlers.of(commands, reactions),
        unit_of_work=postgres.unit_of_work,
        tables=postgres.TABLES,
        api=http.routes,
        tags=TAGS,
    )
