"""Which command belongs to which step of a saga, for those who look at messages from outside."""

import importlib
import pkgutil
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kernel.topology import SERVICES
from shared.core.messages import Command
from shared.saga.machine import Phase, Position
from shared.saga.saga import Saga


@dataclass(frozen=True, kw_only=True)
class Step:
    """The step of a saga that a command belongs to."""

    saga: type[Saga]
    position: Position


class SagaTables:
    """Which step of which saga sends which command, read from the sagas' own tables."""

    def __init__(self, sagas: Iterable[type[Saga]]) -> None:
        self._by_command: dict[str, Step] = {}
        for saga in sagas:
            for index, step in enumerate(saga.table):
                if not step.is_local:
                    self._add(step.action, Step(saga=saga, position=Position(index)))
                    self._add(step.undo, Step(saga=saga, position=Position(index, Phase.UNDOING)))

    @classmethod
    def of_services(cls) -> "SagaTables":
        """Return the tables of all services' sagas. The services are found by name, as the supervisor starts them."""
        for service in SERVICES:
            try:
                package = importlib.import_module(f"{service.name}.application.sagas")
            except ModuleNotFoundError:
                continue
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        return cls(Saga.__subclasses__())

    def step_of(self, command_type: str) -> Step | None:
        """Return the step that sends such commands."""
        return self._by_command.get(command_type)

    def _add(self, request: Any, step: Step) -> None:
        if request is None:
            return
        command = typing.get_type_hints(request)["return"]
        assert issubclass(command, Command)
        self._by_command.setdefault(command.type_name, step)
