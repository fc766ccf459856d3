"""Which aggregates a message names: the fields whose type is an id."""

import sys
from collections.abc import Iterator
from typing import Any, NewType, get_type_hints

from shared.core.messages import Message

_id_fields: dict[type[Message], tuple[tuple[str, Any], ...]] = {}


def ids_named_by(message: Message) -> Iterator[tuple[Any, str]]:
    """Each id in the message with its type: `(TicketId, "0192…")`."""
    cls = type(message)
    if cls not in _id_fields:
        hints = get_type_hints(cls, vars(sys.modules[cls.__module__]))
        _id_fields[cls] = tuple(
            (name, hint) for name, hint in hints.items() if isinstance(hint, NewType) and hint.__supertype__ is str
        )
    for name, id_type in _id_fields[cls]:
        yield id_type, getattr(message, name)
