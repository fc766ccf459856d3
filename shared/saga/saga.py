"""Declarations of sagas: a dataclass for a saga's data, and a table of its steps.

Garcia-Molina and Salem, Sagas, SIGMOD 1987; Microservices Patterns, chapter 4.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform

from shared.core.messages import AnyCommand, service_of
from shared.saga.machine import Machine, StepShape

LocalAction = Callable[[Any, Any], Awaitable[None]]
"""A method of the saga that receives the unit of work and acts in the saga's own transaction."""
Request = Callable[[Any], AnyCommand]
"""A method of the saga that returns the command to send."""
OnReply = Callable[[Any, Any], None]
"""A method of the saga that stores data from a reply."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row of a saga's table. `undo` is run, or sent, when a later step is refused."""

    action: Request | LocalAction | None = None
    undo: Request | LocalAction | None = None
    on_reply: OnReply | None = None
    is_local: bool = False
    is_pivot: bool = False

    @property
    def shape(self) -> StepShape:
        """The properties that the machine needs."""
        return StepShape(acts=self.action is not None, undoes=self.undo is not None, is_pivot=self.is_pivot)


Steps = tuple[Step, ...]


def begun(*, undo: LocalAction) -> Step:
    """Return a step that was done before the saga started, with how to undo it."""
    return Step(undo=undo, is_local=True)


def local(action: LocalAction, *, undo: LocalAction | None = None) -> Step:
    """Return a step in the saga's own transaction, without a message."""
    return Step(action=action, undo=undo, is_local=True)


def step(action: Request, *, on_reply: OnReply | None = None, undo: Request | None = None) -> Step:
    """Return a step that another service carries out."""
    return Step(action=action, undo=undo, on_reply=on_reply)


def pivot(action: Request, *, on_reply: OnReply | None = None) -> Step:
    """Return the step that decides: if it is refused, all is undone; if it is done, all later steps must succeed."""
    return Step(action=action, on_reply=on_reply, is_pivot=True)


_sagas: dict[str, type["Saga"]] = {}


@dataclass_transform(kw_only_default=True)
@dataclass(kw_only=True)
class Saga:
    """Base of sagas: each subclass is a keyword-only dataclass, stored under `<service>.<Name>`.

    `service=` names the service if its package does not. `name=` pins the whole name, for a saga that was renamed.
    `key=` names the field whose value orders the saga's replies. `reason` is the text of the refusal that makes the
    saga undo its steps.
    """

    type_name: ClassVar[str]
    key_field: ClassVar[str]
    table: ClassVar[Steps]
    machine: ClassVar[Machine]

    reason: str = ""

    def __init_subclass__(cls, *, key: str, name: str | None = None, service: str | None = None) -> None:
        super().__init_subclass__()
        dataclass(kw_only=True)(cls)
        cls.type_name = name or f"{service or service_of(cls.__module__)}.{cls.__name__}"
        cls.key_field = key
        if cls.type_name in _sagas:
            raise TypeError(f"two sagas are called {cls.type_name}")
        _sagas[cls.type_name] = cls
        cls.table = cls.steps()
        cls.machine = Machine(tuple(row.shape for row in cls.table))

    @classmethod
    def steps(cls) -> Steps:
        """Return the saga's table of steps."""
        raise TypeError(f"{cls.__name__} has no steps")

    @classmethod
    def service(cls) -> str:
        """Return the service that the saga runs in, and that replies go to."""
        return cls.type_name.partition(".")[0]

    @property
    def key(self) -> str:
        """The value of the key field."""
        return str(getattr(self, self.key_field))


def saga_type(type_name: str) -> type[Saga]:
    """Return the class that is stored under that name; raise KeyError."""
    return _sagas[type_name]
