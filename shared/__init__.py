"""The library that event-driven services stand on: sagas, outbox and inbox, event sourcing, and a host for services.

These names need the base installation only. What needs an extra is imported from its own module: `README.md` lists it.
"""

from shared.core.application import Application
from shared.core.errors import (
    AlreadyExists,
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    LimitReached,
    NotFound,
    NotYet,
)
from shared.core.ids import new_id
from shared.core.messages import Command, Event, Reply, upcasts
from shared.core.service_info import ServiceInfo
from shared.eventsourcing.aggregate import Aggregate, Entity
from shared.messaging.handlers import Handlers, handles
from shared.saga.saga import Saga, Steps, begun, local, pivot, step
from shared.unit_of_work.unit_of_work import UnitOfWork, Units

__all__ = [
    "Aggregate",
    "AlreadyExists",
    "Application",
    "Command",
    "DomainError",
    "Entity",
    "Event",
    "FailedPrecondition",
    "Handlers",
    "InvalidArgument",
    "LimitReached",
    "NotFound",
    "NotYet",
    "Reply",
    "Saga",
    "ServiceInfo",
    "Steps",
    "UnitOfWork",
    "Units",
    "begun",
    "handles",
    "local",
    "new_id",
    "pivot",
    "step",
    "upcasts",
]
