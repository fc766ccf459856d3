"""Sample arguments for the methods of aggregates, from the types of their parameters."""

import dataclasses
import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Two values for each type that a method may compare with an existing value.
_VALUES: dict[Any, tuple[Any, ...]] = {
    str: ("one", "another"),
    int: (1,),
    bool: (True, False),
    datetime: (_NOON,),
    types.NoneType: (None,),
}


def arguments_of(method: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Arguments, by name, to call a bound method with. They are new objects every time."""
    hints = get_type_hints(method)
    names = list(inspect.signature(method).parameters)
    for values in itertools.product(*(samples_of(hints[name]) for name in names)):
        yield dict(zip(names, values, strict=True))


def samples_of(type_: Any) -> list[Any]:
    """Some values of a type. Ids are the same everywhere, so that the ordered dishes are on the menu."""
    if isinstance(type_, NewType):
        return [type_.__name__] if type_.__supertype__ is str else samples_of(type_.__supertype__)
    if type_ in _VALUES:
        return list(_VALUES[type_])
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return samples_of(arguments[0])[:1]
    if origin is tuple:
        return [*((sample,) for sample in samples_of(arguments[0])), ()]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [{samples_of(arguments[0])[0]: samples_of(arguments[1])[0]}]
    if isinstance(type_, type) and issubclass(type_, Enum):
        return [next(iter(type_))]
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        hints = get_type_hints(type_)
        return [type_(**{field.name: samples_of(hints[field.name])[0] for field in dataclasses.fields(type_)})]
    raise TypeError(f"there is no sample of the type {type_}")
