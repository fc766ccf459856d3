"""Idempotent HTTP requests: a request repeated with the same key gets the first answer, and nothing is done twice.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from shared.core.serialization import Json
from shared.eventsourcing.aggregate import Entity

MAX_ID_BYTES = 2000
"""Longer ids are hashed: an index of PostgreSQL accepts at most 2,704 bytes, and a path may have thousands."""


@dataclass(kw_only=True)
class KeptAnswer(Entity):
    """The answer to a request, stored under its method, path and key in the transaction of its effect."""

    body_hash: str
    answer: Json
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyKey:
    """A client's key for a request. `request` is its method and path, `body_hash` identifies its body."""

    request: str
    key: str
    body_hash: str

    @property
    def id(self) -> str:
        """The id that the answer is stored under."""
        id_ = f"{self.request} {self.key}"
        encoded = id_.encode()
        return id_ if len(encoded) <= MAX_ID_BYTES else hashlib.sha256(encoded).hexdigest()


_current: ContextVar[IdempotencyKey | None] = ContextVar("idempotency_key", default=None)


def current_key() -> IdempotencyKey | None:
    """Return the key of the request that is being handled; None if it has none."""
    return _current.get()


@contextmanager
def under(key: IdempotencyKey | None) -> Iterator[None]:
    """Make `key` the current one inside the block."""
    token = _current.set(key)
    try:
        yield
    finally:
        _current.reset(token)
