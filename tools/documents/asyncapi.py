"""The message catalogue for programs: an AsyncAPI 3 document, https://www.asyncapi.com/docs/reference/specification/v3.0.0"""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from kernel.topology import SERVICES
from shared.core.messages import AnyCommand, Command, Message, Refused
from tools.documents.catalogue import Entry, entries
from tools.documents.compatibility import kind_of
from tools.documents.schemas import JsonSchema, schema_of

Node = dict[str, Any]

_ANY = ("event", "command", "reply")
HEADERS: tuple[tuple[str, tuple[str, ...], bool, str], ...] = (
    ("Nats-Msg-Id", _ANY, True, "The outbox row's id: what JetStream drops repeats by."),
    ("ce-specversion", _ANY, True, "1.0"),
    ("ce-id", _ANY, True, "The message's id: what receivers drop repeats by."),
    ("ce-type", _ANY, True, "The message's name: `<service>.<Name>`."),
    ("ce-source", _ANY, True, "`/<service>` that sends it."),
    ("ce-time", _ANY, True, "When it happened, or was sent."),
    ("ce-datacontenttype", _ANY, True, "application/json"),
    ("ce-kind", _ANY, True, "`event`, `command` or `reply`."),
    ("ce-partitionkey", _ANY, True, "The message's key: messages of one key and sender are handled in order."),
    ("ce-correlationid", _ANY, True, "The same for all that follows from one request."),
    ("ce-causationid", _ANY, True, "The id of the request or message that caused it; of a reply, its command's id."),
    ("ce-dataschema", _ANY, False, "`urn:ftgo:<type>:<schema>`, the version of its fields; 1 when it's missing."),
    ("ce-subject", ("event",), True, "The id of what it happened to."),
    ("ce-sequence", ("event",), True, "The version that it gave what it happened to."),
    ("ce-sagaid", ("command", "reply"), True, "The saga that asks."),
    ("ce-replyto", ("command", "reply"), True, "The service that the reply goes to."),
    ("ce-replykey", ("command",), True, "The key that the reply is to have."),
    ("ce-outcome", ("reply",), True, "`success` or `refusal`."),
    ("traceparent", _ANY, False, "W3C trace context: one trace runs from the request to every handler."),
)
"""Each header's name, the kinds of messages that have it, whether they always have it, and its meaning."""

_DESCRIPTION = """\
The messages of FTGO in Python. Made from the code by `./ftgo docs`; `messages.md` has the same for people.

Messages are CloudEvents 1.0 in binary mode over NATS: attributes are headers, the data is JSON. The subject is
`ftgo.<partition>.<kind>.<type>`, of a reply `ftgo.<partition>.reply.<service>`; the partition follows from the key.
Receivers pass over fields that they don't know.
"""


def asyncapi() -> str:
    """The document as YAML."""
    catalogue = entries()
    values: dict[str, JsonSchema] = {}
    messages = {entry.message.type_name: _message(entry.message) for entry in catalogue}
    payloads = {entry.message.type_name: schema_of(entry.message, values) for entry in catalogue}
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": "FTGO in Python", "version": "1.0.0", "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "JetStream, stream `FTGO`; `./ftgo status` says where it listens.",
            }
        },
        "channels": dict(_channels(catalogue)),
        "operations": dict(_operations(catalogue)),
        "components": {
            "messages": messages,
            "schemas": {
                **{f"{kind}Headers": _headers(kind) for kind in _ANY},
                **payloads,
                **dict(sorted(values.items())),
            },
        },
    }
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return "# Made from the code by ./ftgo docs.\n" + text


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, and uses no anchors, so readers of this format need not know them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _message(message: type[Message]) -> Node:
    node: Node = {
        "name": message.type_name,
        "contentType": "application/json",
        "correlationId": {"location": "$message.header#/ce-correlationid"},
        "headers": _ref("components", "schemas", f"{kind_of(message)}Headers"),
        "payload": _ref("components", "schemas", message.type_name),
    }
    if message.key_field is not None:
        node["x-key"] = message.key_field
    if message.schema > 1:
        node["x-schema"] = message.schema
    return node


def _headers(kind: str) -> JsonSchema:
    mine = [header for header in HEADERS if kind in header[1]]
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": meaning} for name, _, _, meaning in mine},
        "required": [name for name, _, always, _ in mine if always],
    }


def _channels(catalogue: list[Entry]) -> Iterator[tuple[str, Node]]:
    for service in SERVICES:
        for kind in ("event", "command"):
            mine = [e for e in catalogue if e.service == service.name and kind_of(e.message) == kind]
            if mine:
                yield (
                    f"{service.name}.{kind}s",
                    {
                        "address": f"ftgo.{{partition}}.{kind}.{service.name}.{{name}}",
                        "messages": _own(mine),
                        "parameters": {"partition": _PARTITION, "name": {"enum": [entry.name for entry in mine]}},
                    },
                )
        if replies := [e for e in catalogue if kind_of(e.message) == "reply" and service.name in e.receivers]:
            yield (
                f"{service.name}.replies",
                {
                    "address": f"ftgo.{{partition}}.reply.{service.name}",
                    "messages": _own(replies),
                    "parameters": {"partition": _PARTITION},
                },
            )


def _operations(catalogue: list[Entry]) -> Iterator[tuple[str, Node]]:
    """One operation per channel for events, and one per command, because each command has a reply of its own."""
    for service in SERVICES:
        for other in SERVICES:
            events = [e for e in catalogue if e.service == other.name and kind_of(e.message) == "event"]
            for action, parties in (("send", "senders"), ("receive", "receivers")):
                if mine := [event for event in events if service.name in getattr(event, parties)]:
                    name = f"{service.name}.{action}.{other.name}.events"
                    yield name, _operation(action, service.name, f"{other.name}.events", mine)
        for entry in catalogue:
            if not issubclass(entry.message, Command):
                continue
            for action, named in (("send", entry.senders), ("receive", entry.receivers)):
                if service.name in named:
                    operation = _operation(action, service.name, f"{entry.service}.commands", [entry])
                    askers = entry.senders if action == "receive" else [service.name]
                    yield (
                        f"{service.name}.{action}.{entry.message.type_name}",
                        operation | _reply(entry.message, askers),
                    )


def _operation(action: str, service: str, channel: str, messages: Iterable[Entry]) -> Node:
    return {
        "action": action,
        "channel": _ref("channels", channel),
        "messages": [_ref("channels", channel, "messages", entry.message.type_name) for entry in messages],
        "tags": [{"name": service}],
    }


def _reply(command: type[AnyCommand], askers: Iterable[str]) -> Node:
    (asker,) = askers
    answers = (command.reply_type(), Refused)
    return {
        "reply": {
            "address": {"location": "$message.header#/ce-replyto", "description": "The service to reply to."},
            "channel": _ref("channels", f"{asker}.replies"),
            "messages": [_ref("channels", f"{asker}.replies", "messages", answer.type_name) for answer in answers],
        }
    }


def _own(mine: Iterable[Entry]) -> Node:
    return {entry.message.type_name: _ref("components", "messages", entry.message.type_name) for entry in mine}


def _ref(*path: str) -> Node:
    return {"$ref": "#/" + "/".join(path)}


_PARTITION = {"description": "From 0: crc32 of the key, modulo the number of partitions.", "default": "0"}
