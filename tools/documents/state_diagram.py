"""State diagrams of aggregates, found by calling every method of an aggregate in every state that it reaches."""

import copy
import dataclasses
import inspect
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from shared.core.errors import DomainError
from shared.core.messages import Event
from shared.eventsourcing.aggregate import Aggregate, RecordingEntity
from tools.documents.samples import arguments_of

AnyAggregate = Aggregate[Any] | RecordingEntity

_OTHERWISE = {"enabled": "Disabled", "erased": "Registered"}
"""The name in the ubiquitous language of a state whose field is false."""
START = END = "[*]"


@dataclass(frozen=True, order=True)
class Transition:
    """The state before, what happens (the event, or the method when it records none), and the state after."""

    source: str
    target: str
    label: str


def transitions_of(cls: type[AnyAggregate]) -> list[Transition]:
    """Every possible change of state, in the order in which they are found."""
    found: dict[Transition, None] = {}
    new = _made_by(cls) if makers_of(cls) else _outcomes(cls(id=cls.__name__))
    seen: set[Any] = set()
    queue: deque[AnyAggregate] = deque()

    def note(source: str, label: str, after: AnyAggregate, recorded: bool) -> None:
        if recorded or source != state_of(after):
            found[Transition(source, state_of(after), label)] = None
        if _situation(after) not in seen:
            seen.add(_situation(after))
            queue.append(after)

    for label, after, recorded in new:
        note(START, label, after, recorded)
    while queue:
        before = queue.popleft()
        for label, after, recorded in _outcomes(before):
            note(state_of(before), label, after, recorded)
    return list(found)


def state_diagram(cls: type[AnyAggregate]) -> str:
    """The transitions as Mermaid text; transitions between the same two states share an arrow."""
    labels: dict[tuple[str, str], list[str]] = {}
    for transition in transitions_of(cls):
        labels.setdefault((transition.source, transition.target), []).append(transition.label)
    left = list(dict.fromkeys(source for source, _ in labels))
    ends = dict.fromkeys(target for _, target in labels if target not in left)
    arrows = sorted(labels.items(), key=lambda arrow: left.index(arrow[0][0]))
    lines = [f"    {source} --> {target}: {', '.join(texts)}" for (source, target), texts in arrows]
    return "\n".join(["stateDiagram-v2", *lines, *(f"    {state} --> {END}" for state in ends)])


def state_of(aggregate: AnyAggregate) -> str:
    """The name of an aggregate's state, from the first of its fields that is an enumeration or a bool."""
    for field in dataclasses.fields(aggregate):
        value = getattr(aggregate, field.name)
        if isinstance(value, Enum):
            return str(value.value)
        if isinstance(value, bool):
            return field.name.capitalize() if value else _OTHERWISE.get(field.name, f"not {field.name}")
    return type(aggregate).__name__


def methods_of(aggregate: AnyAggregate) -> dict[str, Callable[..., Any]]:
    """The methods that change the aggregate."""
    return {
        name: getattr(aggregate, name)
        for name, member in vars(type(aggregate)).items()
        if inspect.isfunction(member) and not name.startswith("_") and name != "apply"
    }


def makers_of(cls: type[Any]) -> dict[str, Callable[..., Any]]:
    """The class methods that make a new aggregate. A row whose events may come in any order has none."""
    return {name: getattr(cls, name) for name, member in vars(cls).items() if isinstance(member, classmethod)}


def _made_by(cls: type[AnyAggregate]) -> Iterator[tuple[str, AnyAggregate, bool]]:
    """What the class methods make of arguments that they do not refuse."""
    for name, make in makers_of(cls).items():
        for arguments in arguments_of(make):
            with suppress(DomainError):
                made = make(**arguments)
                yield _label(name, made.take_recorded()), made, True


def _outcomes(before: AnyAggregate) -> Iterator[tuple[str, AnyAggregate, bool]]:
    """The results of all methods that do not refuse the aggregate: the label, the aggregate, whether it recorded."""
    for name in methods_of(before):
        for arguments in arguments_of(getattr(before, name)):
            after = copy.deepcopy(before)
            try:
                getattr(after, name)(**arguments)
            except DomainError:
                continue
            events = after.take_recorded()
            # Being forgotten is not a step in the aggregate's life, unless it ends it.
            yield _label(name, events), after, any(not event.erases for event in events)


def _label(method: str, events: list[Event]) -> str:
    names = (type(event).__name__ + ("" if event.is_public else " (private)") for event in events)
    return ", ".join(names) or method.replace("_", " ")


def _situation(aggregate: AnyAggregate) -> tuple[Any, ...]:
    """What an aggregate's answers can depend on: its enumerations and flags, and which other fields are set."""
    values = (getattr(aggregate, field.name) for field in dataclasses.fields(aggregate) if field.name != "version")
    return tuple(
        value if isinstance(value, Enum | bool | None) else bool(value)
        for value in values
        if not isinstance(value, int) or isinstance(value, bool)
    )
