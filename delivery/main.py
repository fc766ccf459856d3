"""The delivery service's composition root."""

from delivery.adapters import http, postgres
from delivery.application import commands, reactions
from shared.messaging.handlers import Handlers
from shared.runtime.container import ServiceContainer
from shared.runtime.topology import BY_NAME


def container() -> ServiceContainer:
    """What the delivery service is made of."""
    return ServiceContainer(
        info=BY_NAME["delivery"],
        description="Finds couriers for what restaurants cook, and says where each delivery is.",
        handlers=Handlers.of(commands, reactions),
        unit_of_work=postgres.unit_of_work,
        tables=postgres.TABLES,
        api=http.routes,
    )
