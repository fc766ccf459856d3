"""Messages between services. A class is the contract, the type on the wire and the entry in the registry."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar, Generic, dataclass_transform, get_args, get_origin

from typing_extensions import TypeVar

_CONTRACTS = "contracts"

_types: dict[str, type["Message"]] = {}


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Message:
    """Base of commands, replies and events: each subclass is a frozen keyword-only dataclass.

    Its type on the wire is `<service>.<Name>`. The service is the package that holds its `contracts` module. Messages
    declared in that module are public: other services may receive them. `service=` names the service of a public
    message that is declared anywhere else. `name=` pins the whole name, for a class that was renamed. A second class
    with the same name is a TypeError. `key=` names the field whose value its receivers must handle in order. `schema=`
    counts the incompatible versions of its fields: see `upcasts`.

    `personal=` maps each field of an event that contains personal data to the value that replaces it. The replacement
    happens when an event with `erases` is stored for the same aggregate: see docs/adr/0028.
    """

    type_name: ClassVar[str] = ""
    key_field: ClassVar[str | None] = None
    schema: ClassVar[int] = 1
    personal: ClassVar[Mapping[str, Any]] = {}
    erases: ClassVar[bool] = False
    is_public: ClassVar[bool] = False
    """Whether other services may receive the message."""

    def __init_subclass__(
        cls,
        *,
        key: str | None = None,
        name: str | None = None,
        service: str | None = None,
        schema: int = 1,
        personal: Mapping[str, Any] | None = None,
        erases: bool = False,
    ) -> None:
        super().__init_subclass__()
        if cls.__module__ == __name__ and name is None:
            return
        dataclass(frozen=True, kw_only=True)(cls)
        cls.type_name = name or f"{service or service_of(cls.__module__)}.{cls.__name__}"
        cls.key_field = key
        cls.schema = schema
        cls.personal = personal or {}
        cls.erases = erases
        cls.is_public = service is not None or cls.__module__.endswith(f".{_CONTRACTS}")
        fields: Mapping[str, Any] = cls.__dataclass_fields__  # type: ignore[attr-defined]
        if key is not None and key not in fields:
            raise TypeError(f"{cls.type_name} has no field {key!r}: key= must name one of its fields")
        if unknown := sorted(cls.personal.keys() - fields.keys()):
            raise TypeError(f"{cls.type_name} has no field {unknown[0]!r}: personal= must name its fields")
        if cls.type_name in _types:
            raise TypeError(f"two messages are called {cls.type_name}: {_types[cls.type_name]} and {cls}")
        _types[cls.type_name] = cls

    @property
    def key(self) -> str:
        """The value that determines the order: receivers handle messages of one key in order."""
        if self.key_field is None:
            raise TypeError(f"{self.type_name} is declared without key=")
        return str(getattr(self, self.key_field))


class Reply(Message):
    """The answer to a command."""


class Done(Reply, name="shared.Done"):
    """The command was carried out, and there is no further answer."""


class Refused(Reply, name="shared.Refused"):
    """The domain refused the command: the error's kind, its stable code and its text."""

    kind: str
    code: str
    message: str


R = TypeVar("R", bound=Reply, default=Done)


class Command(Message, Generic[R]):
    """A request to one service. `Command["CreateTicketReply"]` declares its reply; the default is `Done`."""

    @classmethod
    def reply_type(cls) -> type[Reply]:
        """Return the class of the reply."""
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Command:
                (answer,) = get_args(base)
                name = getattr(answer, "__forward_arg__", None)
                resolved = getattr(sys.modules[cls.__module__], name) if name else answer
                assert isinstance(resolved, type)
                assert issubclass(resolved, Reply)
                return resolved
        return Done

    @classmethod
    def service(cls) -> str:
        """Return the name of the service that carries the command out."""
        return cls.type_name.partition(".")[0]


class Event(Message):
    """Something that has happened to an aggregate. An event that is not public stays in its service."""


AnyCommand = Command[Any]

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Converts a message's fields, as they are in JSON, from one schema version to the next."""

_upcasters: dict[tuple[str, int], Upcaster] = {}


def upcasts(message: type[Message], *, schema: int) -> Callable[[Upcaster], Upcaster]:
    """Register the decorated function as the upcaster of a message's fields from that schema version to the next.

    It stands beside the message, so that every reader of the message, from a store or from the stream, can read its old
    versions too. Greg Young, Versioning in an Event Sourced System, chapter "Upcasting".
    """

    def register(upcaster: Upcaster) -> Upcaster:
        if not 1 <= schema < message.schema:
            raise TypeError(f"{message.type_name} has schema {message.schema}: no upcaster can start from {schema}")
        if (message.type_name, schema) in _upcasters:
            raise TypeError(f"{message.type_name} has two upcasters from schema {schema}")
        _upcasters[message.type_name, schema] = upcaster
        return upcaster

    return register


def service_of(module: str) -> str:
    """Return the service that a module belongs to: the nearest package with a `contracts` module, or the outermost."""
    package = module
    while "." in package:
        package = package.rpartition(".")[0]
        if _has_contracts(package):
            break
    return package.rpartition(".")[2]


@cache
def _has_contracts(package: str) -> bool:
    return find_spec(f"{package}.{_CONTRACTS}") is not None


def upcaster_of(type_name: str, schema: int) -> Upcaster | None:
    """Return the upcaster from that version of a message to the next, or None."""
    return _upcasters.get((type_name, schema))


def message_type(type_name: str) -> type[Message] | None:
    """Return the class with that name on the wire, or None."""
    return _types.get(type_name)


def all_message_types() -> dict[str, type[Message]]:
    """Return all messages declared so far, by their names on the wire."""
    return dict(_types)
