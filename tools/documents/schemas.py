"""What messages look like as JSON: JSON Schema for programs, and a description for people."""

import dataclasses
import types
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from kernel.values import Money
from shared.core.messages import Message

JsonSchema = dict[str, Any]

_PLAIN: dict[Any, JsonSchema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
}
_WORDS: dict[Any, str] = {str: "text", int: "integer", bool: "true or false", datetime: "time"}


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a message or of a value in it."""

    name: str
    type: Any
    is_required: bool
    default: Any


def fields_of(cls: type[Any]) -> Iterator[Field]:
    """The fields of a message or value class, in the order of their declaration."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        yield Field(field.name, hints[field.name], default is dataclasses.MISSING, default)


def schema_of(type_: Any, values: dict[str, JsonSchema] | None = None) -> JsonSchema:
    """The JSON Schema of a type. Value classes are written where they occur or, if `values` is given, put into it."""
    if isinstance(type_, NewType):
        inner = schema_of(type_.__supertype__, values)
        return {**inner, "description": "Cents."} if type_ is Money else inner
    if type_ in _PLAIN:
        return dict(_PLAIN[type_])
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        return _schema_of_class(type_, values)
    arguments = get_args(type_)
    if get_origin(type_) in (Union, types.UnionType):
        return {"anyOf": [schema_of(each, values) for each in arguments]}
    if get_origin(type_) is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": schema_of(arguments[0], values)}
    if get_origin(type_) is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], values)}
    raise TypeError(f"no message can have a field of the type {type_}")


def words_of(type_: Any) -> str:
    """The type in words for people; ids and values by their names."""
    if type_ in _WORDS:
        return _WORDS[type_]
    if isinstance(type_, NewType):
        return type_.__name__
    if isinstance(type_, type):
        return type_.__name__
    arguments = get_args(type_)
    if get_origin(type_) in (Union, types.UnionType):
        return " or ".join("null" if each is types.NoneType else words_of(each) for each in arguments)
    if get_origin(type_) is tuple:
        return f"list of {words_of(arguments[0])}"
    return f"{words_of(arguments[1])} by {words_of(arguments[0])}"


def values_in(type_: Any) -> Iterator[type[Any]]:
    """The value classes that a type contains, directly or through other value classes."""
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        if not issubclass(type_, Message):
            yield type_
        for field in fields_of(type_):
            yield from values_in(field.type)
    for argument in get_args(type_):
        yield from values_in(argument)


def _schema_of_class(cls: type[Any], values: dict[str, JsonSchema] | None) -> JsonSchema:
    fields = list(fields_of(cls))
    properties = {}
    for field in fields:
        properties[field.name] = schema_of(field.type, values)
        if not field.is_required:
            properties[field.name]["default"] = field.default
    schema: JsonSchema = {"type": "object", "properties": properties}
    if required := [field.name for field in fields if field.is_required]:
        schema["required"] = required
    if values is None or issubclass(cls, Message):
        return schema
    values.setdefault(cls.__name__, schema)
    return {"$ref": f"#/components/schemas/{cls.__name__}"}
