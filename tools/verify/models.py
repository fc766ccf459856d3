"""What a service's code says about its state: how its events fold, what it subscribes to, and how it projects."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy import Table

from kernel.topology import BY_NAME
from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import utc_now
from shared.core.context import Cause
from shared.core.messages import Event, message_type
from shared.core.policy import Policy
from shared.core.serialization import decode_message
from shared.eventsourcing.aggregate import Aggregate, Entity, RecordingEntity
from shared.eventsourcing.store import StoredEvent
from shared.host.container import MakeUnitOfWork
from shared.messaging.handlers import Handlers
from shared.unit_of_work.unit_of_work import Units


@dataclass(frozen=True)
class ServiceModel:
    """One service's code. `aggregates` are its event-sourced classes, by the name used for storing their events."""

    name: str
    routes: frozenset[str]
    handlers: Handlers
    aggregates: Mapping[str, type[Aggregate[Any]]]
    tables: Mapping[type[Entity], Table]
    make_unit_of_work: MakeUnitOfWork

    @property
    def recording(self) -> Mapping[str, type[RecordingEntity]]:
        """Its row classes that record events about their rows, by the name under which these events are stored."""
        return {cls.aggregate_name: cls for cls in self.tables if issubclass(cls, RecordingEntity)}

    def row(self, name: str) -> type[Entity]:
        """Returns the row class with this name."""
        return next(cls for cls in self.tables if cls.__name__ == name)


@cache
def model_of(name: str) -> ServiceModel:
    """Returns the model of a service. It is not connected to anything."""
    container = importlib.import_module(f"{name}.main").container()
    make = container.unit_of_work()
    try:
        make = importlib.import_module(f"{name}.adapters.memory").unit_of_work
    except ModuleNotFoundError as missing:
        if missing.name != f"{name}.adapters.memory":
            raise
    declared: list[type[Aggregate[Any]]] = Aggregate.__subclasses__()
    return ServiceModel(
        name=name,
        routes=frozenset(container.routes()),
        handlers=container.handlers(),
        aggregates={cls.aggregate_name: cls for cls in declared if cls.__module__.partition(".")[0] == name},
        tables=container.tables(),
        make_unit_of_work=make,
    )


def all_models() -> Sequence[ServiceModel]:
    """Returns the models of all services."""
    return [model_of(name) for name in BY_NAME]


class Projection:
    """A read model rebuilt from stored events, one id at a time."""

    def __init__(self, model: ServiceModel, cls: type[Entity]) -> None:
        self._handlers = {message.type_name: handler for message, handler in model.handlers.items()}
        self._cls = cls
        self._database = MemoryDatabase()
        self._units = Units(self._database, lambda transaction: model.make_unit_of_work(transaction, utc_now, Policy()))

    def follows(self, event: StoredEvent) -> bool:
        """Whether the read model is built from such events."""
        message = message_type(event.type)
        return message is not None and message.is_public and event.type in self._handlers

    async def of(self, id_: str, events: Sequence[StoredEvent]) -> Entity | None:
        """Returns the row that these events produce."""
        async with self._units.begin() as uow:
            for event in events:
                cause = Cause(
                    correlation_id=event.metadata.correlation_id,
                    id=event.metadata.id,
                    causation_id=event.metadata.causation_id,
                    sequence=event.version,
                    occurred_at=event.occurred_at,
                )
                with uow.attempt(cause):
                    await self._handlers[event.type](decoded(event), uow)
        return self._database.tables[self._cls].pop(id_, None)


def decoded(event: StoredEvent) -> Event:
    """Returns the event in the present version of its class; raises Undecodable."""
    return cast(Event, decode_message(event.type, event.data, event.metadata.schema))
