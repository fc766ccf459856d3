"""The order history's composition root."""

from kernel.topology import BY_NAME
from kernel.web import TAGS
from order_history import projection
from order_history.adapters import http, postgres
from shared.host.container import ServiceContainer
from shared.messaging.handlers import Handlers


def container() -> ServiceContainer:
    """Returns the parts that the order history is made of."""
    return ServiceContainer(
        info=BY_NAME["order_history"],
        description="Shows consumers their orders and what has become of them.",
        handlers=Handlers.of(projection),
        unit_of_work=postgres.unit_of_work,
        tables=postgres.TABLES,
        api=http.routes,
        tags=TAGS,
    )
