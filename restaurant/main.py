"""The restaurant service's composition root."""

from kernel.topology import BY_NAME
from kernel.web import TAGS
from restaurant.adapters import http, postgres
from restaurant.application import commands
from restaurant.application.unit_of_work import RestaurantUnitOfWork
from shared.host.container import ServiceContainer
from shared.messaging.handlers import Handlers


def container() -> ServiceContainer:
    """Returns the parts that the restaurant service is made of."""
    return ServiceContainer(
        info=BY_NAME["restaurant"],
        description="Knows the restaurants and their menus.",
        handlers=Handlers.of(commands),
        unit_of_work=RestaurantUnitOfWork,
        tables=postgres.TABLES,
        api=http.routes,
        tags=TAGS,
    )
