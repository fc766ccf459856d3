"""The order service's composition root."""

from kernel.topology import BY_NAME
from kernel.web import TAGS
from order.adapters import http, metrics, postgres
from order.application import commands, reactions
from order.application.sagas.cancel_order import CancelOrderSaga
from order.application.sagas.create_order import CreateOrderSaga
from order.application.sagas.revise_order import ReviseOrderSaga
from shared.host.container import ServiceContainer
from shared.messaging.handlers import Handlers


def container() -> ServiceContainer:
    """Returns the parts that the order service is made of."""
    return ServiceContainer(
        info=BY_NAME["order"],
        description="Takes orders and runs the sagas that make them true everywhere.",
        handlers=Handlers.of(commands, reactions),
        sagas=(CreateOrderSaga, CancelOrderSaga, ReviseOrderSaga),
        unit_of_work=postgres.unit_of_work,
        tables=postgres.TABLES,
        counters=metrics.count,
        api=http.routes,
        tags=TAGS,
    )
