"""JSON for what is stored and sent. Unknown fields are ignored, so that a sender may add one before its receivers."""

from typing import Any, NewType, TypeVar

import msgspec

from shared.core.messages import Message, message_type, upcaster_of

T = TypeVar("T")
Json = NewType("Json", str)
"""Text that is JSON already: stored as it is."""

_encode = msgspec.json.Encoder().encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


class Undecodable(Exception):
    """A stored or received text is not what its type says."""


def to_json(value: Any) -> str:
    """`value` (dataclasses, enums, times, collections) as JSON."""
    return _encode(value).decode()


def size_of(value: Any) -> int:
    """How many bytes it has as JSON."""
    return len(_encode(value))


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


def decode_message(type_name: str, data: str | bytes, schema: int | None = None) -> Message:
    """The message of that type, brought from that schema version (the present one, if not given) to the present one.

    Raises Undecodable, also for a type that is not known here, and for a version newer than the one known here.
    """
    cls = message_type(type_name)
    if cls is None:
        raise Undecodable(f"no message is called {type_name}")
    if schema is None or schema == cls.schema:
        return from_json(cls, data)
    if schema > cls.schema:
        raise Undecodable(f"{type_name} has schema {schema}, and the newest that is known here is {cls.schema}")
    fields = from_json(dict[str, Any], data)
    for version in range(schema, cls.schema):
        fields = _upcast(type_name, version, fields)
    return from_json(cls, _encode(fields))


def _upcast(type_name: str, version: int, fields: dict[str, Any]) -> dict[str, Any]:
    upcaster = upcaster_of(type_name, version)
    if upcaster is None:
        raise Undecodable(f"there is no upcaster for {type_name} from schema {version}")
    try:
        return upcaster(fields)
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # the fields are not what they should be
        raise Undecodable(f"not a {type_name} of schema {version}: {error!r}") from None
