"""Every message comes back as it was, also from a sender that says more, and from one that is older."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.values import OrderId, TicketId
from kitchen.contracts import TicketRevising
from kitchen.domain.ticket import Ticket, TicketStatus
from shared.core.messages import Message, message_type
from shared.core.serialization import decode_message, to_json
from tests.properties.values import ANYTHING, FEW, NOON, values
from tools.documents.compatibility import described_messages
from tools.documents.files import kept_versions
from tools.documents.schemas import JsonSchema, schema_of

MESSAGES = described_messages()
KEPT = kept_versions()
VERSIONS = [(name, int(version)) for name, history in KEPT.items() for version in history]
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=20),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "null": st.none(),
}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type_name)
@given(st.data())
@FEW
def test_a_message_comes_back_as_it_was(message: type[Message], data: st.DataObject) -> None:
    sent = data.draw(values(message, ANYTHING))
    assert decode_message(message.type_name, to_json(sent), message.schema) == sent


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type_name)
@given(st.data())
@FEW
def test_what_a_newer_sender_adds_is_passed_over(message: type[Message], data: st.DataObject) -> None:
    sent = data.draw(values(message, ANYTHING))
    more = _with_more(json.loads(to_json(sent)), schema_of(message))
    assert decode_message(message.type_name, json.dumps(more), message.schema) == sent


@pytest.mark.parametrize(("name", "schema"), VERSIONS)
@given(st.data())
@FEW
def test_every_version_that_is_kept_can_be_read(name: str, schema: int, data: st.DataObject) -> None:
    stored = data.draw(_documents(KEPT[name][str(schema)]["data"]))
    cls = message_type(name)
    assert cls is not None
    assert isinstance(decode_message(name, json.dumps(stored), schema), cls)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type_name)
def test_the_schema_that_is_published_is_the_one_that_is_decoded_by(message: type[Message]) -> None:
    (theirs,), components = msgspec.json.schema_components([message], ref_template="{name}")
    assert _bare(schema_of(message)) == _bare(_resolved(theirs, components))


def test_a_ticket_that_was_stored_with_an_old_event_is_as_it_was() -> None:
    """What a kitchen was told before it was told how an order is to change."""
    ids = '"ticket_id":"t","order_id":"o"'
    stored = [
        ("kitchen.TicketCreatePending", 1, f'{{{ids},"restaurant_id":"r","line_items":[]}}'),
        ("kitchen.TicketCreated", 1, f'{{{ids},"restaurant_id":"r","line_items":[]}}'),
        ("kitchen.TicketAccepted", 1, f'{{{ids},"accepted_at":"{NOON.isoformat()}","ready_by":"{NOON.isoformat()}"}}'),
        ("kitchen.TicketRevising", 1, f"{{{ids}}}"),
    ]
    ticket = Ticket(id="t")
    for name, schema, text in stored:
        event: Any = decode_message(name, text, schema)
        ticket.replay(event)
    assert event == TicketRevising(ticket_id=TicketId("t"), order_id=OrderId("o"), revised_quantities={})
    assert (ticket.status, ticket.status_before) == (TicketStatus.REVISION_PENDING, TicketStatus.ACCEPTED)


def _with_more(value: Any, schema: JsonSchema) -> Any:
    """The same with a field more wherever the schema names fields."""
    if "anyOf" in schema:
        return value if value is None else _with_more(value, schema["anyOf"][0])
    if isinstance(value, list):
        return [_with_more(each, schema["items"]) for each in value]
    if isinstance(value, dict) and "properties" in schema:
        known = {name: _with_more(each, schema["properties"][name]) for name, each in value.items()}
        return {"added_later": {"deep": [1, None]}, **known}
    return value


def _documents(schema: JsonSchema) -> st.SearchStrategy[Any]:
    """JSON that fits a schema, without the fields that may be missing, or with them."""
    if "anyOf" in schema:
        return st.one_of([_documents(each) for each in schema["anyOf"]])
    if schema.get("format") == "date-time":
        return ANYTHING[type(NOON)].map(lambda time: time.isoformat())
    if schema["type"] == "array":
        return st.lists(_documents(schema["items"]), max_size=2)
    if "properties" in schema:
        required = schema.get("required", [])
        fields = {name: _documents(each) for name, each in schema["properties"].items()}
        return st.fixed_dictionaries(
            {name: fields[name] for name in required},
            optional={name: field for name, field in fields.items() if name not in required},
        )
    if schema["type"] == "object":
        return st.dictionaries(st.text(max_size=5), _documents(schema["additionalProperties"]), max_size=2)
    return LEAVES[schema["type"]]


def _resolved(schema: Any, components: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _resolved(components[schema["$ref"]], components)
        return {name: _resolved(value, components) for name, value in schema.items()}
    return [_resolved(each, components) for each in schema] if isinstance(schema, list) else schema


def _bare(schema: Any) -> Any:
    """Without what only people read."""
    if isinstance(schema, dict):
        kept = {name: _bare(value) for name, value in schema.items() if name not in ("title", "description", "format")}
        if isinstance(kept.get("required"), list) and not kept["required"]:
            del kept["required"]
        return kept
    return [_bare(each) for each in schema] if isinstance(schema, list | tuple) else schema
