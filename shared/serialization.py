"""JSON for what is stored and sent. Unknown fields are ignored, so that a sender may add one before its receivers."""

from collections.abc import Callable, Mapping
from typing import Any, NewType, TypeVar

import msgspec

from shared.core.messages import Message, message_type

T = TypeVar("T")
Json = NewType("Json", str)
"""Text that is JSON already: stored as it is."""
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

_encode = msgspec.json.Encoder().encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


class Undecodable(Exception):
    """A stored or received text is not what its type says."""


def to_json(value: Any) -> str:
    """`value` (dataclasses, enums, times, collections) as JSON."""
    return _encode(value).decode()


def from_json(type_: type[T], text: str | bytes) -> T:
    """The inverse of `to_json`; raises Undecodable."""
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.json.Decoder(type_)
    try:
        decoded: T = decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise Undecodable(f"not a {getattr(type_, '__name__', type_)}: {error}") from None
    return decoded


def decode_message(type_name: str, data: str | bytes) -> Message:
    """The message of that type; raises Undecodable, also for a type that is not known here."""
    cls = message_type(type_name)
    if cls is None:
        raise Undecodable(f"no message is called {type_name}")
    return from_json(cls, data)


class Upcasters:
    """Brings stored events of older schema versions to the present one, step by step.

    The functions are keyed by `(type name, schema version they start from)` and change the decoded JSON object.
    """

    def __init__(self, steps: Mapping[tuple[str, int], Upcaster] | None = None) -> None:
        self._steps = dict(steps or {})

    def decode(self, type_name: str, schema: int, data: str) -> Message:
        """The event as its class has it today; raises Undecodable when a step is missing."""
        cls = message_type(type_name)
        if cls is None or schema == cls.schema:
            return decode_message(type_name, data)
        fields = msgspec.json.decode(data)
        for version in range(schema, cls.schema):
            step = self._steps.get((type_name, version))
            if step is None:
                raise Undecodable(f"there is no upcaster for {type_name} from schema {version}")
            fields = step(fields)
        return decode_message(type_name, _encode(fields))
