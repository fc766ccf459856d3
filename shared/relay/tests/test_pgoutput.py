"""Decoding pgoutput, message by message as the protocol's documentation describes them."""

import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.relay.pgoutput import COLUMNS, Committed, Decoder, OutboxRow, UnexpectedMessage, parse_lsn

RELATION = 16_385


def relation(*columns: str, number: int = RELATION) -> bytes:
    head = b"R" + struct.pack("!i", number) + b"public\0outbox\0" + b"d" + struct.pack("!H", len(columns))
    return head + b"".join(b"\1" + name.encode() + b"\0" + struct.pack("!ii", 25, -1) for name in columns)


def insert(*values: str | None, number: int = RELATION) -> bytes:
    columns = [
        b"n" if value is None else b"t" + struct.pack("!i", len(value.encode())) + value.encode() for value in values
    ]
    return b"I" + struct.pack("!i", number) + b"N" + struct.pack("!H", len(columns)) + b"".join(columns)


def commit(lsn: int, end: int, microseconds: int) -> bytes:
    return b"C\0" + struct.pack("!qqq", lsn, end, microseconds)


def test_a_row_has_its_values_by_name() -> None:
    decoder = Decoder()
    assert decoder.decode(relation("id", "subject", "key", "headers", "data", "created_at")) is None
    row = decoder.decode(insert("7", "event.order.X", "k", "{}", '{"a":1}', "2026-01-01"))
    assert row == OutboxRow(7, "event.order.X", "k", "{}", '{"a":1}')


def test_columns_may_stand_anywhere_and_change_their_places() -> None:
    decoder = Decoder()
    decoder.decode(relation("extra", "data", "headers", "key", "subject", "id"))
    assert decoder.decode(insert(None, "d", "h", "k", "s", "1")) == OutboxRow(1, "s", "k", "h", "d")
    decoder.decode(relation(*COLUMNS))
    assert decoder.decode(insert("2", "s", "k", "h", "d")) == OutboxRow(2, "s", "k", "h", "d")


def test_a_commit_is_known_by_the_position_behind_it() -> None:
    at = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    microseconds = (at - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert Decoder().decode(commit(100, 150, microseconds)) == Committed(150, at)


def test_begin_origin_and_type_say_nothing_of_rows() -> None:
    decoder = Decoder()
    assert decoder.decode(b"B" + struct.pack("!qqi", 1, 2, 3)) is None
    assert decoder.decode(b"O" + struct.pack("!q", 1) + b"origin\0") is None
    assert decoder.decode(b"Y" + struct.pack("!i", 1) + b"public\0mood\0") is None


@pytest.mark.parametrize("payload", [b"U....", b"T....", b"S....", b""])
def test_what_the_publication_does_not_have_is_an_error(payload: bytes) -> None:
    with pytest.raises(UnexpectedMessage):
        Decoder().decode(payload)


def test_a_row_of_an_unknown_table_is_an_error() -> None:
    with pytest.raises(UnexpectedMessage):
        Decoder().decode(insert("1", "s", "k", "h", "d"))


def test_a_table_that_is_no_outbox_is_an_error() -> None:
    with pytest.raises(UnexpectedMessage, match="'key' is not in list"):
        Decoder().decode(relation("id", "subject", "headers", "data"))


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.integers(0, 2**63 - 1), texts, texts, texts, texts)
def test_any_text_comes_through(number: int, subject: str, key: str, headers: str, data: str) -> None:
    decoder = Decoder()
    decoder.decode(relation(*COLUMNS))
    row = decoder.decode(insert(str(number), subject, key, headers, data))
    assert row == OutboxRow(number, subject, key, headers, data)


@given(st.integers(0, 2**64 - 1))
def test_positions_are_written_in_two_halves(lsn: int) -> None:
    assert parse_lsn(f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}") == lsn
