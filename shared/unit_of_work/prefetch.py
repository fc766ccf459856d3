"""Finds the aggregates that a message or a saga names: the fields whose type is an id."""

import sys
from collections.abc import Iterator
from typing import Any, NewType, get_type_hints

_id_fields: dict[type[object], tuple[tuple[str, Any], ...]] = {}


def ids_named_by(named_by: object) -> Iterator[tuple[Any, str]]:
    """Yield each id in the fields with its type, such as `(TicketId, "0192…")`."""
    cls = type(named_by)
    if cls not in _id_fields:
        hints = get_type_hints(cls, vars(sys.modules[cls.__module__]))
        _id_fields[cls] = tuple(
            (name, hint) for name, hint in hints.items() if isinstance(hint, NewType) and hint.__supertype__ is str
        )
    for name, id_type in _id_fields[cls]:
        yield id_type, getattr(named_by, name)
