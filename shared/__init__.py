"""The library that event-driven services stand on: sagas, outbox and inbox, event sourcing, and a host for services.

These names need the base installation only. What needs an extra is imported from its own module: `README.md` lists it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.core.application import Application as Application
    from shared.core.errors import AlreadyExists as AlreadyExists
    from shared.core.errors import DomainError as DomainError
    from shared.core.errors import FailedPrecondition as FailedPrecondition
    from shared.core.errors import InvalidArgument as InvalidArgument
    from shared.core.errors import LimitReached as LimitReached
    from shared.core.errors import NotFound as NotFound
    from shared.core.errors import NotYet as NotYet
    from shared.core.ids import new_id as new_id
    from shared.core.messages import Command as Command
    from shared.core.messages import Event as Event
    from shared.core.messages import Reply as Reply
    from shared.core.messages import upcasts as upcasts
    from shared.core.service_info import ServiceInfo as ServiceInfo
    from shared.eventsourcing.aggregate import Aggregate as Aggregate
    from shared.eventsourcing.aggregate import Entity as Entity
    from shared.messaging.handlers import Handlers as Handlers
    from shared.messaging.handlers import handles as handles
    from shared.saga.saga import Saga as Saga
    from shared.saga.saga import Steps as Steps
    from shared.saga.saga import begun as begun
    from shared.saga.saga import local as local
    from shared.saga.saga import pivot as pivot
    from shared.saga.saga import step as step
    from shared.unit_of_work.unit_of_work import UnitOfWork as UnitOfWork
    from shared.unit_of_work.unit_of_work import Units as Units

_HOMES = {
    "Aggregate": "shared.eventsourcing.aggregate",
    "AlreadyExists": "shared.core.errors",
    "Application": "shared.core.application",
    "Command": "shared.core.messages",
    "DomainError": "shared.core.errors",
    "Entity": "shared.eventsourcing.aggregate",
    "Event": "shared.core.messages",
    "FailedPrecondition": "shared.core.errors",
    "Handlers": "shared.messaging.handlers",
    "InvalidArgument": "shared.core.errors",
    "LimitReached": "shared.core.errors",
    "NotFound": "shared.core.errors",
    "NotYet": "shared.core.errors",
    "Reply": "shared.core.messages",
    "Saga": "shared.saga.saga",
    "ServiceInfo": "shared.core.service_info",
    "Steps": "shared.saga.saga",
    "UnitOfWork": "shared.unit_of_work.unit_of_work",
    "Units": "shared.unit_of_work.unit_of_work",
    "begun": "shared.saga.saga",
    "handles": "shared.messaging.handlers",
    "local": "shared.saga.saga",
    "new_id": "shared.core.ids",
    "pivot": "shared.saga.saga",
    "step": "shared.saga.saga",
    "upcasts": "shared.core.messages",
}

if not TYPE_CHECKING:  # so that type checkers know which names there are

    def __getattr__(name: str) -> object:
        # Imported when it is asked for: a health check imports this package every few seconds, and needs none of it.
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return [*globals(), *_HOMES]
