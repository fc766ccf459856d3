"""A message as it travels: its data and its attributes.

The format is CloudEvents 1.0 in binary mode: the attributes are headers (`ce-id`, `ce-type`, …), the data is JSON.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from shared.core.errors import InvalidArgument

Kind = Literal["event", "command", "reply"]
Outcome = Literal["success", "refusal"]

_KINDS: dict[str, Kind] = {"event": "event", "command": "command", "reply": "reply"}
_OUTCOMES: dict[str | None, Outcome | None] = {None: None, "success": "success", "refusal": "refusal"}

ROW_ID_HEADER = "Nats-Msg-Id"
"""The outbox row's id, set by the relay: JetStream drops a second message with the same one."""

OWN_HEADER = "app-"
"""The names of the library's own headers begin so. On a broker that applications share it is the application's name."""
SCHEMA_HEADER = "ce-dataschema"
SCHEMA_URN = "urn:app:"
"""What a schema's name begins with, in the same way."""

MAX_PAYLOAD = 4 << 20
"""Bytes of data and headers that a broker must take: `max_payload` in its configuration."""

MAX_DATA = MAX_PAYLOAD - (64 << 10)


class MessageTooLarge(InvalidArgument):
    """The message is larger than brokers take. Raised when it is written, so that its sender is told."""

    code = "message_too_large"
    text = "too large to be sent to other services"


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A message on its way. `key` names what its receivers must handle in order, `schema` the version of its fields."""

    id: str
    type: str
    kind: Kind
    source: str
    key: str
    data: str
    time: datetime
    correlation_id: str
    causation_id: str
    schema: int = 1
    subject: str | None = None
    sequence: int | None = None
    saga_id: str | None = None
    reply_to: str | None = None
    reply_key: str | None = None
    outcome: Outcome | None = None
    traceparent: str | None = None

    @property
    def route(self) -> str:
        """The subject without its partition, such as `command.kitchen.CreateTicket` or `reply.order`."""
        return f"reply.{self.reply_to}" if self.kind == "reply" else f"{self.kind}.{self.type}"

    @property
    def is_too_large(self) -> bool:
        """Whether its data is larger than `MAX_DATA`."""
        # A character has four bytes at most: few messages are ever encoded for this.
        return len(self.data) > MAX_DATA // 4 and len(self.data.encode()) > MAX_DATA

    def to_headers(self) -> dict[str, str]:
        """The CloudEvents attributes and `traceparent`; those that are not set are left out."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.type,
            "ce-source": f"/{self.source}",
            "ce-time": self.time.isoformat(),
            "ce-datacontenttype": "application/json",
            "ce-kind": self.kind,
            "ce-partitionkey": self.key,
            "ce-correlationid": self.correlation_id,
            "ce-causationid": self.causation_id,
        }
        for name, value in (
            (SCHEMA_HEADER, _schema_uri(self.type, self.schema) if self.schema > 1 else None),
            ("ce-subject", self.subject),
            ("ce-sequence", self.sequence),
            ("ce-sagaid", self.saga_id),
            ("ce-replyto", self.reply_to),
            ("ce-replykey", self.reply_key),
            ("ce-outcome", self.outcome),
            ("traceparent", self.traceparent),
        ):
            if value is not None:
                headers[name] = str(value)
        return headers

    @classmethod
    def of(cls, received: "Received") -> "Envelope":
        """Read a received message. Raises ValueError for what is no message, or not the one that its subject names.

        The broker lets nobody publish to another service's subjects, so a message is trusted only as far as it agrees
        with its subject.
        """
        envelope = cls.from_headers(received.headers, received.data)
        if received.subject is not None and not received.subject.endswith(f".{envelope.route}"):
            raise ValueError(f"it says that it is {envelope.route}, and was sent to {received.subject}")
        return envelope

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], data: str) -> "Envelope":
        """The inverse of `to_headers`; raises ValueError for what is not such a message."""
        try:
            kind, outcome = _KINDS[headers["ce-kind"]], _OUTCOMES[headers.get("ce-outcome")]
            sequence = headers.get("ce-sequence")
            return cls(
                id=headers["ce-id"],
                type=headers["ce-type"],
                kind=kind,
                source=headers["ce-source"].removeprefix("/"),
                key=headers["ce-partitionkey"],
                data=data,
                time=datetime.fromisoformat(headers["ce-time"]),
                correlation_id=headers["ce-correlationid"],
                causation_id=headers["ce-causationid"],
                schema=_schema_of(headers.get(SCHEMA_HEADER)),
                subject=headers.get("ce-subject"),
                sequence=None if sequence is None else int(sequence),
                saga_id=headers.get("ce-sagaid"),
                reply_to=headers.get("ce-replyto"),
                reply_key=headers.get("ce-replykey"),
                outcome=outcome,
                traceparent=headers.get("traceparent"),
            )
        except KeyError as missing:
            raise ValueError(f"a header is missing or unknown: {missing}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A message as a subscription gets it. `row_id` tells a relay's repeat from a sender's resend.

    `subject` is where it was published, as long as that is known: what was set aside has been looked at before.
    """

    position: int
    row_id: str
    received_at: datetime
    headers: Mapping[str, str] = field(repr=False)
    data: str = field(repr=False)
    subject: str | None = None


def _schema_uri(type_: str, schema: int) -> str:
    return f"{SCHEMA_URN}{type_}:{schema}"


def _schema_of(uri: str | None) -> int:
    return 1 if uri is None else int(uri.rpartition(":")[2])


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same in every process, unlike `hash()`."""
    return zlib.crc32(key.encode()) % partitions
