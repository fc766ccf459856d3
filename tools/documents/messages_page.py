"""The message catalogue for people."""

from collections.abc import Iterable, Iterator
from typing import Any

from kernel.topology import SERVICES
from shared.core.messages import Command, Message
from tools.documents.asyncapi import HEADERS
from tools.documents.catalogue import Entry, entries, private_events
from tools.documents.compatibility import kind_of
from tools.documents.schemas import fields_of, values_in, words_of

_INTRODUCTION = """\
# The messages

`./ftgo docs` makes this page from the code; `asyncapi.yaml` has the same for programs. A message is called
`<service>.<Name>`, after the service whose contract it is: the service in which an event happens, or that carries out
a command. The subject of an event or a command is `ftgo.<partition>.<event|command>.<service>.<Name>`, the subject of
a reply is `ftgo.<partition>.reply.<service>`. Messages with the same key are handled in the order in which their
sender committed them.

A message may change only in ways that leave stored messages, and messages on their way, readable:
[ADR 0011](adr/0011-a-message-can-change-its-schema.md). When a person is to be forgotten, the personal fields in stored
events are overwritten: [ADR 0028](adr/0028-people-are-overwritten.md).
"""

_PLURALS = {"event": "events", "command": "commands", "reply": "replies"}


def messages_page() -> str:
    """The page as Markdown."""
    catalogue = entries()
    parts = [_INTRODUCTION]
    for service in SERVICES:
        mine = [entry for entry in catalogue if entry.service == service.name]
        if mine:
            parts += _section(service.name, mine)
    parts += ["## Answers to every command\n", *_table([e for e in catalogue if e.service == "shared"])]
    parts += ["\n## Events that stay in their service\n", "They are stored, but not published.\n", *_private()]
    parts += ["\n## Values\n", *_values(catalogue)]
    parts += ["\n## Headers\n", *_headers()]
    return "\n".join(parts) + "\n"


def _section(service: str, mine: list[Entry]) -> Iterator[str]:
    yield f"## {service}\n"
    for kind, title in (("command", "Commands"), ("reply", "Replies"), ("event", "Events")):
        if of_kind := [entry for entry in mine if kind_of(entry.message) == kind]:
            yield f"### {title}\n"
            yield from _table(of_kind)
            yield ""


def _table(mine: list[Entry]) -> Iterator[str]:
    kind = kind_of(mine[0].message)
    columns = ["message", "fields", *(["key"] if kind != "reply" else []), *(["reply"] if kind == "command" else [])]
    yield _row([*columns, "sent by", "handled by"])
    yield _row(["---"] * (len(columns) + 2))
    for entry in mine:
        cells = [_title(entry.message), _fields(entry.message)]
        if kind != "reply":
            cells.append(f"`{entry.message.key_field}`")
        if kind == "command":
            cells.append(f"`{_reply_of(entry.message)}`")
        yield _row([*cells, ", ".join(entry.senders) or "–", ", ".join(entry.receivers) or "–"])


def _private() -> Iterator[str]:
    yield _row(["message", "fields"])
    yield _row(["---"] * 2)
    for event in private_events():
        yield _row([f"`{event.type_name}`", _fields(event)])


def _values(catalogue: Iterable[Entry]) -> Iterator[str]:
    found: dict[type[Any], None] = {}
    for entry in catalogue:
        for field in fields_of(entry.message):
            found.update(dict.fromkeys(values_in(field.type)))
    yield _row(["value", "fields"])
    yield _row(["---"] * 2)
    for value in sorted(found, key=lambda value: value.__name__):
        yield _row([f"`{value.__name__}`", _fields(value)])
    yield "\nIds (`OrderId`, …) are text. `Money` is an integer, in cents. A time is RFC 3339, with its offset."


def _headers() -> Iterator[str]:
    yield "CloudEvents 1.0 in binary mode over NATS; those that begin with `ce-` are its attributes and extensions.\n"
    yield _row(["header", "in", "meaning"])
    yield _row(["---"] * 3)
    for name, kinds, always, meaning in HEADERS:
        where = "all" if len(kinds) == len(_PLURALS) else ", ".join(_PLURALS[kind] for kind in kinds)
        yield _row([f"`{name}`", where if always else f"{where}, not always", meaning])


def _reply_of(command: type[Message]) -> str:
    assert issubclass(command, Command)
    return str(command.reply_type().__name__)


def _title(message: type[Message]) -> str:
    return f"`{message.__name__}`" + (f" (schema {message.schema})" if message.schema > 1 else "")


def _fields(cls: type[Any]) -> str:
    described = (
        f"`{field.name}`: {words_of(field.type)}"
        + ("" if field.is_required else ", optional")
        + (", personal" if issubclass(cls, Message) and field.name in cls.personal else "")
        for field in fields_of(cls)
    )
    return "<br>".join(described) or "–"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
