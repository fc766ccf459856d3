"""The restaurant service's composition root."""

from restaurant.adapters import http, postgres
from restaurant.application import commands
from restaurant.application.ports import RestaurantUnitOfWork
from shared.messaging.handlers import Handlers
from shared.runtime.container import ServiceContainer
from shared.runtime.topology import BY_NAME


def container() -> ServiceContainer:
    """What the restaurant service is made of."""
    return ServiceContainer(
        info=BY_NAME["restaurant"],
        description="Knows the restaurants and their menus.",
        handlers=Handlers.of(commands),
        unit_of_work=RestaurantUnitOfWork,
        tables=postgres.TABLES,
        api=http.routes,
    )
