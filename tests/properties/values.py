"""Hypothesis strategies from types: for messages as they may arrive, and for aggregates as they may be asked."""

import copy
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from hypothesis import settings
from hypothesis import strategies as st

from delivery.domain.courier import Courier
from kernel.values import MenuItemId, Money
from shared.core.errors import DomainError
from shared.core.messages import Event
from shared.eventsourcing.aggregate import Aggregate, RecordingEntity
from tools.documents.samples import arguments_of, samples_of
from tools.documents.state_diagram import makers_of, methods_of

A = TypeVar("A", bound=Aggregate[Any] | RecordingEntity)
FEW = settings(max_examples=10, deadline=None)
"""For what is repeated for every message."""
SOME = settings(max_examples=40, deadline=None)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Draw = Callable[[st.SearchStrategy[Any]], Any]
Leaves = Mapping[Any, st.SearchStrategy[Any]]

ANYTHING: Leaves = {
    str: st.text(max_size=20),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    types.NoneType: st.none(),
}
"""Whatever the types allow."""

PLAUSIBLE: Leaves = {
    **ANYTHING,
    str: st.sampled_from(["", "one", "another"]),
    int: st.integers(-1, 3),
    Money: st.integers(0, 1000),
    # What is ordered should often be on the menu.
    MenuItemId: st.sampled_from(["soup", "salad", *samples_of(MenuItemId)]),
    datetime: st.integers(-1, 2).map(lambda hours: NOON + timedelta(hours=hours)),
    Courier: st.builds(Courier, id=st.sampled_from(["ann", "bob"]), available=st.just(True), free_since=st.just(NOON)),
}
"""Few values, so that they meet."""


def values(type_: Any, leaves: Leaves) -> st.SearchStrategy[Any]:
    """Values of a type, the innermost ones as `leaves` says."""
    if type_ in leaves:
        return leaves[type_]
    if isinstance(type_, NewType):
        return values(type_.__supertype__, leaves)
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return st.one_of([values(each, leaves) for each in arguments])
    if origin is tuple:
        return st.lists(values(arguments[0], leaves), max_size=3).map(tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(values(arguments[0], leaves), values(arguments[1], leaves), max_size=3)
    if isinstance(type_, type) and issubclass(type_, Enum):
        return st.sampled_from(type_)
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        hints = get_type_hints(type_)
        fields = {field.name: values(hints[field.name], leaves) for field in dataclasses.fields(type_)}
        return st.builds(type_, **fields)
    raise TypeError(f"no strategy for the type {type_}")


def arguments(draw: Draw, method: Any) -> dict[str, Any]:
    """Arguments for a method."""
    hints = get_type_hints(method)
    return {name: draw(values(hints[name], PLAUSIBLE)) for name in inspect.signature(method).parameters}


def something_happens(draw: Draw, aggregate: Aggregate[Any] | RecordingEntity) -> bool:
    """Calls some method with some arguments; answers whether it was not refused.

    Half of the time it is one that is not, or lives would end before they begin.
    """
    possible = list(_possible(aggregate))
    if possible and draw(st.booleans()):
        name, given = draw(st.sampled_from(possible))
    else:
        name = draw(st.sampled_from(list(methods_of(aggregate))))
        given = arguments(draw, getattr(aggregate, name))
    try:
        getattr(aggregate, name)(**copy.deepcopy(given))
    except DomainError:
        return False
    return True


@st.composite
def beginnings(draw: st.DrawFn, cls: type[A], id_: str = "1") -> A:
    """New ones: as a class method makes them, from plausible arguments that it does not refuse."""
    for make in makers_of(cls).values():
        given = arguments(draw, make)
        try:
            made: A = make(**{**given, "id_": id_})
        except DomainError:
            made = make(**{**next(arguments_of(make)), "id_": id_})
        return made
    return cls(id=id_)


@st.composite
def histories(draw: st.DrawFn, cls: type[A]) -> tuple[A, list[Event]]:
    """An aggregate that has been through something, and what it has recorded."""
    aggregate = draw(beginnings(cls))
    for _ in range(draw(st.integers(8, 30))):
        something_happens(draw, aggregate)
    return aggregate, list(aggregate.take_recorded())


def _possible(aggregate: Aggregate[Any] | RecordingEntity) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, method in methods_of(aggregate).items():
        for sample in arguments_of(method):
            try:
                getattr(copy.deepcopy(aggregate), name)(**copy.deepcopy(sample))
            except DomainError:
                continue
            yield name, sample
            break
