"""The delivery service's composition root."""

from delivery.adapters import http, postgres
from delivery.application import commands, reactions
from kernel.topology import BY_NAME
from kernel.web import TAGS
from shared.host.container import ServiceContainer
from shared.messaging.handlers import Handlers


def container() -> ServiceContainer:
    """Returns the parts that the delivery service is made of."""
    return ServiceContainer(
        info=BY_NAME["delivery"],
        description="Finds couriers for what restaurants cook, and says where each delivery is.",
        handlers=Handlers.of(commands, reactions),
        unit_of_work=postgres.unit_of_work,
        tables=postgres.TABLES,
        api=http.routes,
        tags=TAGS,
    )
