"""The documents that are made from the code say what it does, and every message can be read by all who know it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import yaml

from kernel.topology import SERVICES
from kernel.values import Address, LineItem, OrderId
from shared.core.messages import Command, Event, upcasts
from shared.messaging.envelope import ROW_ID_HEADER, Envelope
from tools.documents.asyncapi import HEADERS
from tools.documents.catalogue import aggregates, container_of, entries, sagas
from tools.documents.compatibility import compare, describe, described_messages, kind_of
from tools.documents.files import documents, incompatible_changes
from tools.documents.saga_diagram import saga_diagram
from tools.documents.state_diagram import transitions_of
from tools.system.system import ROOT


def test_every_message_is_read_by_all_who_know_it() -> None:
    wrong = incompatible_changes()
    assert not wrong, "\n".join(map(str, ["messages have changed incompatibly:", *wrong]))


def test_the_documents_are_as_the_code_has_them() -> None:
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text() != text]
    names = "\n".join(str(path.relative_to(ROOT)) for path in stale)
    assert not stale, f"made from the code, and not what it says any more:\n{names}\nRun ./ftgo docs"


def asyncapi() -> dict[str, Any]:
    return cast(dict[str, Any], yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text()))


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_every_reference_in_the_catalogue_leads_somewhere() -> None:
    document = asyncapi()
    for reference in set(_references(document)):
        found = document
        for name in reference.removeprefix("#/").split("/"):
            assert name in found, reference
            found = found[name]


def test_every_message_that_travels_is_sent_and_received_under_its_subject() -> None:
    document = asyncapi()
    sent: set[str] = set()
    received: set[str] = set()
    for operation in document["operations"].values():
        names = {reference["$ref"].rpartition("/")[2] for reference in operation["messages"]}
        (sent if operation["action"] == "send" else received).update(names)
    for entry in entries():
        name, kind = entry.message.type_name, kind_of(entry.message)
        if kind == "reply":
            continue
        assert name in sent
        assert (name in received) == bool(entry.receivers)
        address = document["channels"][f"{entry.service}.{kind}s"]["address"]
        route = address.removeprefix("ftgo.{partition}.").replace("{name}", entry.name)
        assert route == f"{kind}.{name}"


def test_the_catalogue_knows_what_subscriptions_read() -> None:
    for service in SERVICES:
        routes = {
            f"{kind_of(entry.message)}.{entry.message.type_name}"
            for entry in entries()
            if service.name in entry.receivers and kind_of(entry.message) != "reply"
        }
        replies = {f"reply.{service.name}" for _ in container_of(service.name).sagas()}
        assert routes | replies == set(container_of(service.name).routes())


def test_every_command_is_sent_by_a_saga() -> None:
    assert [entry.message.type_name for entry in entries() if not entry.senders] == []


def test_the_headers_are_those_that_are_sent() -> None:
    everything = Envelope(
        id="i", type="t.T", kind="command", source="s", key="k", data="{}", time=datetime(2026, 3, 1, tzinfo=UTC),
        correlation_id="c", causation_id="d", schema=2, subject="a", sequence=1, saga_id="g", reply_to="r",
        reply_key="y", outcome="success", traceparent="p",
    )  # fmt: skip
    assert {name for name, *_ in HEADERS} == {*everything.to_headers(), ROW_ID_HEADER}


def test_a_state_diagram_has_every_event_of_its_aggregate() -> None:
    """But those by which it is forgotten, unless that ends its life."""
    for service, aggregate in aggregates():
        shown = set(re.findall(r"\w+", " ".join(transition.label for transition in transitions_of(aggregate))))
        kept = re.search(rf"the states of {aggregate.__name__} -->\n(.*?)<!-- end", _readme(service), re.DOTALL)
        assert kept
        mine = [entry for entry in entries() if entry.service == service and issubclass(entry.message, Event)]
        events = {entry.name for entry in mine if not entry.message.erases}
        assert events <= shown
        assert all(event in kept[1] for event in events)


def _readme(service: str) -> str:
    return (ROOT / service / "README.md").read_text()


def test_a_step_diagram_has_every_command_of_its_saga() -> None:
    drawn = "\n".join(saga_diagram(saga) for saga in sagas())
    assert [e.name for e in entries() if issubclass(e.message, Command) and e.name not in drawn] == []


class Kept(Event, key="order_id"):
    order_id: OrderId
    text: str
    address: Address | None = None
    line_items: tuple[LineItem, ...] = ()
    quantities: dict[OrderId, int]


def changed(**changes: Any) -> dict[str, Any]:
    """The description of a message that was otherwise before: paths with dots for dicts, None to take away."""
    description = describe(Kept)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place: Any = description
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return description


ALL = ["order_id", "text", "quantities"]
LINE_ITEM = ["menu_item_id", "name", "price", "quantity"]
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("before", "advice"),
    [
        (changed(kind="command"), "make it another message"),
        (changed(key="text"), "make it another message"),
        (changed(published=True), "contracts.py"),
        (changed(data__properties__text=None, data__required=["order_id", "quantities"]), "Give it a default, or"),
        (changed(data__properties__gone=TEXT, data__required=[*ALL, "gone"]), "Keep it, or"),
        (changed(data__properties__text={"type": "integer"}), "add another field, or"),
        (changed(data__properties__text={"anyOf": [TEXT, {"type": "null"}]}), "add another field, or"),
        (changed(data__required=["order_id", "quantities"]), "Keep its default, or"),
        (changed(data__properties__quantities__additionalProperties=TEXT), "quantities{} was"),
        (changed(data__properties__line_items__items__properties__name={"type": "null"}), "line_items[].name was"),
        (changed(data__properties__line_items__items__properties__unit=TEXT,
                 data__properties__line_items__items__required=[*LINE_ITEM, "unit"]), "line_items[].unit is gone"),
    ],
)  # fmt: skip
def test_what_could_not_be_read_any_more_is_found_and_says_what_to_do(before: dict[str, Any], advice: str) -> None:
    (wrong,) = compare({Kept.type_name: Kept}, {Kept.type_name: {"1": before}})
    assert advice in str(wrong)
    if wrong.remedy.endswith("(docs/adr/0011-a-message-can-change-its-schema.md)."):
        assert "`schema=2`" in wrong.remedy
        assert "`@upcasts(Kept, schema=1)`" in wrong.remedy


@pytest.mark.parametrize(
    "before",
    [
        changed(),
        changed(data__properties__address=None),
        changed(data__properties__address__anyOf__0__properties__street2=None),
        changed(data__properties__dropped={**TEXT, "default": ""}),
        changed(data__required=[*ALL, "line_items"]),
        changed(data__properties__text={**TEXT, "description": "otherwise described"}),
    ],
)
def test_what_can_still_be_read_is_no_matter(before: dict[str, Any]) -> None:
    wrong = compare({Kept.type_name: Kept}, {Kept.type_name: {"1": before}})
    assert [str(each) for each in wrong] == []


def test_a_message_that_is_gone_has_been_renamed_perhaps() -> None:
    (wrong,) = compare({}, {"tests.Kept": {"1": describe(Kept)}})
    assert 'name="tests.Kept"' in str(wrong)


def test_versions_only_go_up() -> None:
    (wrong,) = compare({Kept.type_name: Kept}, {Kept.type_name: {"2": describe(Kept)}})
    assert "older" in wrong.why


class Upgraded(Event, schema=3):
    """An event of the third schema."""


@upcasts(Upgraded, schema=1)
def _same(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def test_the_next_version_needs_a_way_from_the_last_one() -> None:
    (wrong,) = compare({Upgraded.type_name: Upgraded}, {Upgraded.type_name: {"1": changed(), "2": changed()}})
    assert "`@upcasts(Upgraded, schema=2)`" in wrong.remedy


def test_a_reply_is_what_who_asked_waits_for() -> None:
    command = next(message for message in described_messages() if message.type_name == "kitchen.CreateTicket")
    before = {**describe(command), "reply": "shared.Done"}
    (wrong,) = compare({command.type_name: command}, {command.type_name: {"1": before}})
    assert "reply was shared.Done" in wrong.why
