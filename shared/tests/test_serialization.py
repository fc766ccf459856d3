"""What is stored and sent as JSON, and comes back."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.values import Address, ConsumerId, LineItem, MenuItemId, Money, OrderId, RestaurantId
from order.contracts import OrderCreated
from shared.core.ids import derived_id, new_id
from shared.core.messages import Event, upcasts
from shared.core.serialization import Undecodable, decode_message, from_json, to_json
from shared.messaging.envelope import Envelope, partition_of
from shared.tests.contracts import Deposited, WalletId

ORDER = OrderCreated(
    order_id=OrderId("o"),
    consumer_id=ConsumerId("c"),
    restaurant_id=RestaurantId("r"),
    restaurant_name="Zoë's 🍕",
    line_items=(LineItem(menu_item_id=MenuItemId("m"), name="Curry", price=Money(1200), quantity=2),),
    order_total=Money(2400),
    deliver_at=datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC),
    deliver_to=Address(street1="1 Main Street", city="Oakland", state="CA", zip="94611"),
)


class Changed(Event, schema=3):
    """An event of the third schema."""

    cents: int
    currency: str


@upcasts(Changed, schema=1)
def _to_cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {"cents": fields["dollars"] * 100}


@upcasts(Changed, schema=2)
def _with_currency(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "currency": "USD"}


class Forgotten(Event, schema=2):
    """An event whose first schema nobody can read any more."""


def test_a_message_comes_back_as_it_was() -> None:
    assert decode_message("order.OrderCreated", to_json(ORDER)) == ORDER


def test_a_field_that_is_not_known_is_passed_over() -> None:
    text = '{"wallet_id":"w","amount":1,"added_later":{"x":[1]}}'
    assert decode_message("tests.Deposited", text) == Deposited(wallet_id=WalletId("w"), amount=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "null",
        '{"wallet_id":"w"}',
        '{"wallet_id":"w","amount":"1"}',
        '{"wallet_id":"w","amount":1',
        '{"wallet_id":"\ud800","amount":1}',
        '{"x":' + "[" * 100_000,
    ],
    ids=lambda text: text[:30].encode("ascii", "replace").decode(),
)
def test_what_is_no_such_message_is_undecodable(text: str) -> None:
    with pytest.raises(Undecodable):
        decode_message("tests.Deposited", text)


def test_an_unknown_type_is_undecodable() -> None:
    with pytest.raises(Undecodable, match=r"tests\.Nobody"):
        decode_message("tests.Nobody", "{}")


def test_old_events_are_brought_to_the_present_schema_step_by_step() -> None:
    assert decode_message(Changed.type_name, '{"dollars":3}', 1) == Changed(cents=300, currency="USD")
    assert decode_message(Changed.type_name, '{"cents":3}', 2) == Changed(cents=3, currency="USD")
    assert decode_message(Changed.type_name, '{"cents":3,"currency":"EUR"}', 3) == Changed(cents=3, currency="EUR")


def test_a_missing_upcaster_is_an_error() -> None:
    with pytest.raises(Undecodable, match="from schema 1"):
        decode_message(Forgotten.type_name, "{}", 1)


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"dollars":null}'])
def test_what_no_upcaster_can_read_is_undecodable(text: str) -> None:
    with pytest.raises(Undecodable):
        decode_message(Changed.type_name, text, 1)


def test_a_version_that_is_newer_than_the_one_known_here_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="newest known here is 3"):
        decode_message(Changed.type_name, "{}", 4)


@pytest.mark.parametrize("schema", [0, 1, 3])
def test_an_upcaster_leads_from_an_old_version_and_there_is_one_for_each(schema: int) -> None:
    with pytest.raises(TypeError):
        upcasts(Changed, schema=schema)(dict)


def envelope(**fields: Any) -> Envelope:
    return Envelope(
        **{
            "id": "i", "type": "tests.Deposited", "kind": "event", "source": "tests", "key": "k", "data": "{}",
            "time": ORDER.deliver_at, "correlation_id": "c", "causation_id": "d", **fields,
        }
    )  # fmt: skip


@given(
    st.builds(
        envelope,
        kind=st.sampled_from(["event", "command", "reply"]),
        subject=st.none() | st.text(),
        sequence=st.none() | st.integers(0, 1 << 40),
        saga_id=st.none() | st.text(),
        reply_to=st.none() | st.text(),
        reply_key=st.none() | st.text(),
        outcome=st.sampled_from([None, "success", "refusal"]),
        schema=st.integers(1, 99),
        traceparent=st.none() | st.text(),
        key=st.text(),
        correlation_id=st.text(),
    )
)
def test_an_envelope_comes_back_from_its_headers(sent: Envelope) -> None:
    assert Envelope.from_headers(sent.to_headers(), sent.data) == sent
    assert from_json(Envelope, to_json(sent)) == sent


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("ce-id", "ce-type", "ce-kind", "ce-partitionkey", "ce-time", "ce-correlationid")),
        {"ce-kind": "rumour"},
        {"ce-outcome": "maybe"},
        {"ce-time": "yesterday"},
        {"ce-sequence": "first"},
        {"ce-dataschema": "urn:ftgo:tests.Deposited:latest"},
    ],
    ids=str,
)
def test_headers_that_are_none_of_ours(changes: dict[str, str | None]) -> None:
    headers = {name: value for name, value in {**envelope().to_headers(), **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=r"."):
        Envelope.from_headers(headers, "{}")


def test_where_messages_go() -> None:
    assert envelope().route == "event.tests.Deposited"
    assert envelope(kind="command", type="kitchen.CreateTicket").route == "command.kitchen.CreateTicket"
    assert envelope(kind="reply", type="shared.Done", reply_to="order").route == "reply.order"


def test_a_keys_partition_is_the_same_in_every_process() -> None:
    assert [partition_of(key, 8) for key in ("a", "b", "Zoë", "")] == [3, 1, 2, 0]


def test_ids_sort_by_their_time_and_derived_ones_follow_from_their_parts() -> None:
    made = [new_id() for _ in range(100)]
    assert made == sorted(made)
    assert len(set(made)) == 100
    assert derived_id("a", "b") == derived_id("a", "b") != derived_id("b", "a")
