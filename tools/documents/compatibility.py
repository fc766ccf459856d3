"""Whether a message can still be read by those who know an older version, and what to do when it can't.

Two directions matter. Messages that are stored or on their way were written by the older class and are read by the
present one. Receivers that are not updated yet read what the present class writes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.core.messages import AnyCommand, Command, Event, Message, Reply, upcaster_of
from tools.documents.catalogue import entries, private_events
from tools.documents.schemas import schema_of

Description = dict[str, Any]
"""What is kept of one version of a message."""
History = dict[str, Description]
"""The versions of a message, by `str(schema)`."""


@dataclass(frozen=True)
class Incompatible:
    """Why a message can't stay as it is, and what to do about it."""

    message: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.why}\n    {self.remedy}"


def described_messages() -> list[type[Message]]:
    """Every message that travels or is stored."""
    return [*(entry.message for entry in entries()), *private_events()]


def describe(message: type[Message]) -> Description:
    """The parts of a message's present version that others rely on."""
    description: Description = {"kind": kind_of(message), "published": message.is_public or _is_shared(message)}
    if message.key_field is not None:
        description["key"] = message.key_field
    if issubclass(message, Command):
        command: type[AnyCommand] = message
        description["reply"] = command.reply_type().type_name
    description["data"] = schema_of(message)
    return description


def kind_of(message: type[Message]) -> str:
    """The kind of a message: `event`, `command` or `reply`."""
    return next(kind.__name__.lower() for kind in (Event, Command, Reply) if issubclass(message, kind))


def compare(present: Mapping[str, type[Message]], kept: Mapping[str, History]) -> Iterator[Incompatible]:
    """The problems of the present messages, compared with the versions that are kept of them."""
    for name, history in kept.items():
        message = present.get(name)
        if message is None:
            yield Incompatible(
                name,
                "nothing is called so any more.",
                f'If its class was renamed, keep its name on the wire: `class …(…, name="{name}")`. If nobody sends it '
                "any more, and none is stored or on its way, remove it from tests/contracts.",
            )
            continue
        newest = max(map(int, history))
        if message.schema < newest:
            yield Incompatible(name, f"schema {message.schema} is older than {newest}.", "Versions only go up.")
        elif message.schema == newest:
            yield from _compare(name, newest, history[str(newest)], describe(message))
        for version in range(min(map(int, history)), message.schema):
            if upcaster_of(name, version) is None:
                yield Incompatible(
                    name,
                    f"what has schema {version} can't be read any more.",
                    f"Put a function beside the class: `@upcasts({message.__name__}, schema={version})`.",
                )


def _compare(name: str, schema: int, before: Description, now: Description) -> Iterator[Incompatible]:
    for part, remedy in (
        ("kind", "It travels another way then: make it another message."),
        ("key", "Messages under the old key and the new one would overtake each other: make it another message."),
        ("reply", "Who has sent the command waits for the old one: make it another message."),
    ):
        if before.get(part) != now.get(part):
            yield Incompatible(name, f"its {part} was {before.get(part)} and is {now.get(part)}.", remedy)
    if before["published"] and not now["published"]:
        yield Incompatible(name, "it is not published any more.", "Declare it in its service's contracts.py.")
    for path, why, remedy in _differences("", before["data"], now["data"]):
        next_version = (
            f"make it the next version: `schema={schema + 1}`, and beside the class a function marked "
            f"`@upcasts({name.partition('.')[2]}, schema={schema})` that makes it from the old fields "
            "(docs/adr/0011-a-message-can-change-its-schema.md)."
        )
        yield Incompatible(name, f"{path} {why}", f"{remedy} or {next_version}")


def _differences(path: str, before: Description, now: Description) -> Iterator[tuple[str, str, str]]:
    """Differences that make data of one schema unreadable with the other: the path, the reason, the simplest remedy."""
    if "properties" in before and "properties" in now:
        fields_before, fields_now = before["properties"], now["properties"]
        required_before, required_now = before.get("required", ()), now.get("required", ())
        for name, field in fields_before.items():
            place = f"{path}.{name}".lstrip(".")
            if name in fields_now:
                yield from _differences(place, field, fields_now[name])
                if name not in required_before and name in required_now:
                    yield place, "has no default any more, and may be missing in what is stored.", "Keep its default,"
            elif name in required_before:
                yield place, "is gone, and receivers that are not updated yet need it.", "Keep it,"
        for name in fields_now:
            if name not in fields_before and name in required_now:
                place = f"{path}.{name}".lstrip(".")
                yield place, "is new, and missing in what is stored or on its way.", "Give it a default,"
    elif isinstance(before.get("items"), dict) and isinstance(now.get("items"), dict):
        yield from _differences(f"{path}[]", before["items"], now["items"])
    elif isinstance(before.get("additionalProperties"), dict) and isinstance(now.get("additionalProperties"), dict):
        yield from _differences(f"{path}{{}}", before["additionalProperties"], now["additionalProperties"])
    elif "anyOf" in before and "anyOf" in now and len(before["anyOf"]) == len(now["anyOf"]):
        for one, other in zip(before["anyOf"], now["anyOf"], strict=True):
            yield from _differences(path, one, other)
    elif _shape(before) != _shape(now):
        yield path, f"was {_shape(before)} and is {_shape(now)}.", "Keep it and add another field,"


def _shape(schema: Description) -> Description:
    return {name: value for name, value in schema.items() if name not in ("default", "description")}


def _is_shared(message: type[Message]) -> bool:
    return message.type_name.startswith("shared.")
