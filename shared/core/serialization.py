"""JSON for stored and sent data.

Unknown fields are ignored, so that a sender may add a field before its receivers do.
"""

from typing import Any, NewType, TypeVar

import msgspec

from shared.core.messages import Message, message_type, upcaster_of

T = TypeVar("T")
Json = NewType("Json", str)
"""Text that is already JSON: it is stored unchanged."""

_encode = msgspec.json.Encoder().encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


class Undecodable(Exception):
    """A stored or received text does not match its type."""


def to_json(value: Any) -> str:
    """Return `value` (dataclasses, enums, times, collections) as JSON."""
    return _encode(value).decode()


def size_of(value: Any) -> int:
    """How many bytes it has as JSON."""
    return len(_encode(value))


def from_json(type_: type[T], text: str | bytes) -> T:
    """Return the value that a JSON text describes, the inverse of `to_json`; raise Undecodable if it does not match."""
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.json.Decoder(type_)
    try:
        decoded: T = decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise Undecodable(f"not a {getattr(type_, '__name__', type_)}: {error}") from None
    return decoded


def decode_message(type_name: str, data: str | bytes, schema: int | None = None) -> Message:
    """Return the message of that type, converted from schema version `schema` (default: the current one).

    Raise Undecodable if the text does not match, the type is unknown here, or the version is newer than the one known
    here.
    """
    cls = message_type(type_name)
    if cls is None:
        raise Undecodable(f"unknown message type {type_name}")
    if schema is None or schema == cls.schema:
        return from_json(cls, data)
    if schema > cls.schema:
        raise Undecodable(f"{type_name} has schema {schema}, but the newest known here is {cls.schema}")
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
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # the fields do not match their schema
        raise Undecodable(f"not a {type_name} of schema {version}: {error!r}") from None
