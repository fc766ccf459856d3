"""Decodes what PostgreSQL's `pgoutput` plugin (protocol version 1) sends about the outbox. Pure: bytes in, values out.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

PUBLICATION = "ftgo_outbox"
"""The publication of the outbox's inserts. Each database has its own, so applications can't mix them up; databases that
exist have it under this name."""

LONGEST_TRANSACTION = timedelta(seconds=60)
"""No transaction that writes to an outbox is open for longer (`transaction_timeout`). The relay looks back this far for
rows that were committed after a checkpoint."""

COLUMNS = ("id", "subject", "key", "headers", "data")
"""The columns of the outbox that are read; all are declared not null."""

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_BEGIN = struct.Struct("!cqqi")
_COMMIT = struct.Struct("!cBqqq")
_INSERT = struct.Struct("!cicH")
_RELATION = struct.Struct("!ci")
_COLUMN_TAIL = struct.Struct("!ii")
_LENGTH = struct.Struct("!i")


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message as it was written to the outbox. `headers` is JSON."""

    id: int
    subject: str
    key: str
    headers: str = field(repr=False)
    data: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Committed:
    """The end of the transaction of the rows before it: the log's position behind its commit, and the commit's time."""

    lsn: int
    at: datetime


class UnexpectedMessage(ValueError):
    """The plugin has sent something that protocol version 1, or the publication, does not have."""


class Decoder:
    """Decodes one connection's messages: rows of a transaction in the order they were written, then its commit.

    The plugin sends a transaction only when it has been committed, and all of it before the next.
    """

    def __init__(self) -> None:
        self._indexes: dict[int, tuple[int, ...]] = {}  # where our columns are, by relation

    def decode(self, payload: bytes) -> OutboxRow | Committed | None:
        """Return the row or the commit in a message; None for a message that only prepares others.

        Raises UnexpectedMessage.
        """
        match payload[:1]:
            case b"I":
                return self._insert(payload)
            case b"C":
                _, _, _, end, at = _COMMIT.unpack_from(payload)
                return Committed(end, _EPOCH + timedelta(microseconds=at))
            case b"R":
                self._relation(payload)
                return None
            case b"B" | b"O" | b"Y":  # begin, origin, type
                return None
            case kind:
                raise UnexpectedMessage(f"pgoutput sent a message of kind {kind!r}")

    def _relation(self, payload: bytes) -> None:
        _, relation = _RELATION.unpack_from(payload)
        _, offset = _string(payload, _RELATION.size)  # namespace
        table, offset = _string(payload, offset)
        offset += 1  # replica identity
        (count,) = struct.unpack_from("!H", payload, offset)
        offset += 2
        names = []
        for _ in range(count):
            name, offset = _string(payload, offset + 1)  # behind the flags
            offset += _COLUMN_TAIL.size
            names.append(name)
        try:
            self._indexes[relation] = tuple(names.index(name) for name in COLUMNS)
        except ValueError as missing:
            raise UnexpectedMessage(f"the publication's table {table} is no outbox: {missing}") from None

    def _insert(self, payload: bytes) -> OutboxRow:
        _, relation, _, count = _INSERT.unpack_from(payload)
        if relation not in self._indexes:
            raise UnexpectedMessage("pgoutput sent a row before its table")
        offset = _INSERT.size
        values: list[str] = []
        for _ in range(count):
            kind = payload[offset]
            offset += 1
            if kind != 0x74:  # "t", a text; the others ("n", "u") have no value
                values.append("")
                continue
            (length,) = _LENGTH.unpack_from(payload, offset)
            offset += _LENGTH.size
            values.append(payload[offset : offset + length].decode())
            offset += length
        row_id, subject, key, headers, data = (values[index] for index in self._indexes[relation])
        return OutboxRow(int(row_id), subject, key, headers, data)


def _string(payload: bytes, offset: int) -> tuple[str, int]:
    end = payload.index(0, offset)
    return payload[offset:end].decode(), end + 1


def parse_lsn(text: str) -> int:
    """Return the position in the log that PostgreSQL writes as `16/B374D848`."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)
