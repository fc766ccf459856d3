"""Which messages there are, who sends them and who handles them, according to the services' own wiring."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from kernel.topology import SERVICES
from shared.core.messages import AnyCommand, Command, Done, Event, Message, Refused, Reply
from shared.eventsourcing.aggregate import Aggregate, RecordingEntity

if TYPE_CHECKING:
    from shared.host.container import ServiceContainer
    from shared.saga.saga import LocalAction, Request, Saga

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A message that services send to each other. `senders` and `receivers` are names of services."""

    message: type[Message]
    senders: Sequence[str]
    receivers: Sequence[str]

    @property
    def service(self) -> str:
        """The service that owns the contract."""
        return self.message.type_name.partition(".")[0]

    @property
    def name(self) -> str:
        """The message's name within its service."""
        return self.message.type_name.partition(".")[2]


@cache
def container_of(service: str) -> "ServiceContainer":
    """The container with the parts of a service."""
    container: ServiceContainer = importlib.import_module(f"{service}.main").container()
    return container


def entries() -> list[Entry]:
    """Every message that is sent between services, by service, in the order of the contracts."""
    senders = _senders_of_commands()
    found = []
    for message in _declared_in_contracts():
        service = message.type_name.partition(".")[0]
        if issubclass(message, Command):
            found.append(Entry(message, senders.get(message, ()), (service,)))
        elif issubclass(message, Reply):
            found.append(Entry(message, (service,), _asking([message], senders)))
        else:
            found.append(Entry(message, (service,), _handling(message)))
    answering = sorted({command.service() for command in senders})
    found += [Entry(message, answering, _asking([message], senders)) for message in (Done, Refused)]
    return found


def private_events() -> list[type[Event]]:
    """Events that are stored, but never leave their service."""
    return [
        event
        for service in SERVICES
        for module in _domain_of(service.name)
        for event in _classes_in(module, Event)
        if not event.is_public
    ]


def sagas() -> list[type["Saga"]]:
    """Every saga, in the order of the services' wiring."""
    return [saga for service in SERVICES for saga in container_of(service.name).sagas()]


def starters_of(saga: type["Saga"]) -> list[type[Message]]:
    """The messages whose handlers create an instance of the saga."""
    handlers = container_of(saga.service()).handlers().items()
    return [message for message, handler in handlers if saga.__name__ in inspect.unwrap(handler).__code__.co_names]


def command_of(request: "Request | LocalAction") -> type[AnyCommand]:
    """The command that a saga's method makes, when its step is not local."""
    command: type[AnyCommand] = get_type_hints(request)["return"]
    return command


def aggregates() -> Iterator[tuple[str, type[Aggregate[Any] | RecordingEntity]]]:
    """Every aggregate that changes, with its service: event-sourced ones, and rows that record events."""
    for service in SERVICES:
        for module in _domain_of(service.name):
            for cls in _classes_in(module, object):
                if issubclass(cls, Aggregate | RecordingEntity):
                    yield service.name, cls


def _declared_in_contracts() -> Iterator[type[Message]]:
    for service in SERVICES:
        if service.publishes:
            yield from _classes_in(importlib.import_module(f"{service.name}.contracts"), Message)


def _domain_of(service: str) -> Iterable[ModuleType]:
    try:
        package = importlib.import_module(f"{service}.domain")
    except ModuleNotFoundError:  # a read model has no domain package
        return
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(module.name)


def _classes_in(module: ModuleType, base: type[T]) -> list[type[T]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]


def _senders_of_commands() -> dict[type[AnyCommand], list[str]]:
    senders: dict[type[AnyCommand], list[str]] = {}
    for saga in sagas():
        for row in saga.table:
            for request in (row.action, row.undo):
                if request is not None and not row.is_local:
                    known = senders.setdefault(command_of(request), [])
                    if saga.service() not in known:
                        known.append(saga.service())
    return senders


def _asking(answers: Sequence[type[Message]], senders: dict[type[AnyCommand], list[str]]) -> list[str]:
    """The services whose sagas can get one of these replies. A refusal can be the answer to every command."""
    return sorted(
        {
            sender
            for command, services in senders.items()
            for sender in services
            if {command.reply_type(), Refused}.intersection(answers)
        }
    )


def _handling(event: type[Message]) -> list[str]:
    return [service.name for service in SERVICES if event in container_of(service.name).handlers()]
