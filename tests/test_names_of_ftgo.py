"""FTGO's names stay those that streams, slots, databases and configurations of earlier versions have."""

from kernel.topology import FTGO
from shared.adapters.nats.names import NatsNames
from shared.adapters.nats.publisher import header_block
from shared.adapters.nats.sent import GONE_HEADER
from shared.messaging.broker import subject_of
from shared.messaging.chain import link_header
from shared.messaging.envelope import Envelope
from shared.messaging.replay import END_HEADER


def test_of_its_streams_and_subjects() -> None:
    names = NatsNames(FTGO)
    assert (names.log.stream, names.log.subjects) == ("FTGO", "ftgo.>")
    assert names.partitions_key == "ftgo_partitions"
    assert names.log.to_wire(subject_of(0, "event.order.OrderCreated")) == "ftgo.0.event.order.OrderCreated"
    assert names.keeper_subject("order", "read") == "ftgo-keeper.order.read"
    assert names.replay_control("order") == "ftgo-control.replay.order"
    assert names.sent_control("order") == "ftgo-control.sent.order"
    assert names.rows_control("order") == "ftgo-control.rows.order"
    replays = names.replays("order_history")
    assert (replays.stream, replays.subjects) == ("FTGO_REPLAY_order_history", "ftgo-replay.order_history.>")
    assert replays.to_wire("run.end") == "ftgo-replay.order_history.run.end"


def test_of_its_headers() -> None:
    headers = {
        link_header("kitchen"): "0",
        END_HEADER: "3",
        GONE_HEADER: "it is not kept",
        "ce-dataschema": "urn:app:kitchen.TicketRevising:2",
    }
    assert header_block(NatsNames(FTGO), "order-1", headers) == (
        b"NATS/1.0\r\nNats-Msg-Id: order-1\r\nftgo-previous-kitchen: 0\r\nftgo-replayed: 3\r\n"
        b"ftgo-gone: it is not kept\r\nce-dataschema: urn:ftgo:kitchen.TicketRevising:2\r\n\r\n"
    )


def test_an_outbox_of_before_is_read() -> None:
    """Its rows have the schema's name as it was on the wire."""
    headers = {
        "ce-id": "1", "ce-type": "kitchen.TicketRevising", "ce-kind": "event", "ce-source": "/kitchen",
        "ce-partitionkey": "k", "ce-time": "2026-03-01T00:00:00+00:00", "ce-correlationid": "c",
        "ce-causationid": "c",
        "ce-dataschema": "urn:ftgo:kitchen.TicketRevising:2",
    }  # fmt: skip
    assert Envelope.from_headers(headers, "{}").schema == 2
    assert b"ce-dataschema: urn:ftgo:kitchen.TicketRevising:2\r\n" in header_block(
        NatsNames(FTGO), "kitchen-1", headers
    )


def test_of_its_sessions_and_slots_in_postgresql() -> None:
    assert FTGO.slot("ordering") == "ftgo_ordering"
    assert FTGO.relay_program == "ftgo relay"
    assert FTGO.session_name("order") == f"order/{FTGO.releases.current.number}"


def test_of_its_variables() -> None:
    assert FTGO.environment_prefix == "FTGO_"
