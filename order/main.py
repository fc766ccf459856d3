"""The order service's composition root."""

from dependency_injector import containers, providers

from order.adapters import http, metrics, postgres
from order.application import commands, reactions
from order.application.ports import OrderUnitOfWork
from order.application.sagas.cancel_order import CancelOrderSaga
from order.application.sagas.create_order import CreateOrderSaga
from order.application.sagas.revise_order import ReviseOrderSaga
from shared.messaging.handlers import Handlers
from shared.runtime.container import ServiceContainer
from shared.runtime.topology import BY_NAME


@containers.copy(ServiceContainer)
class Container(ServiceContainer):
    """What the order service is made of."""

    info = providers.Object(BY_NAME["order"])
    description = providers.Object("Takes orders and runs the sagas that make them true everywhere.")
    handlers = providers.Singleton(lambda: Handlers.of(commands, reactions))
    sagas = providers.Object((CreateOrderSaga, CancelOrderSaga, ReviseOrderSaga))
    unit_of_work = providers.Object(OrderUnitOfWork)
    tables = providers.Singleton(lambda: postgres.TABLES)
    counters = providers.Object(metrics.count)
    api = providers.Object(http.routes)
