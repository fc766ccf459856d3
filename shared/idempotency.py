"""Idempotent HTTP: a request that comes again with the same key gets the first answer, and nothing is done twice.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from dataclasses import dataclass
from datetime import datetime

from shared.eventsourcing.aggregate import Entity
from shared.serialization import Json


@dataclass(kw_only=True)
class KeptAnswer(Entity):
    """The answer to a request, kept under its method, path and key. Written in the transaction of its effect."""

    body_hash: str
    answer: Json
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyKey:
    """A client's key for a request; `request` is its method and path, `body_hash` tells one body from another."""

    request: str
    key: str
    body_hash: str

    @property
    def id(self) -> str:
        """What the answer is kept under."""
        return f"{self.request} {self.key}"
