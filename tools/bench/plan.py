"""What the load generator is told, and what it tells: as JSON, since it's a process of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MEASURING = b"measuring\n"
MEASURED = b"measured\n"
"""Lines that the generator says when the window in which it measures begins and ends. The last one is its `Outcome`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A load: so many users one after another each (closed loop), or so many sagas a second (open loop).

    With `keys`, each request that changes something has an idempotency key, as a client's should. With `reads`, the
    order and its consumer's history are looked at when a saga has ended.
    """

    urls: Mapping[str, str]
    nats_url: str
    nats_user: str
    nats_password: str = field(repr=False)
    users: int | None
    rate: float | None
    mix: bool
    reads: bool
    keys: bool
    warm_up: float
    seconds: float
    seed: str
    consumers: int
    restaurants: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it. Durations are seconds.

    `ended` are the sagas that ended within the window; `http`, `end_to_end` and `reads` are of those begun in it.
    `in_all` counts those before and after it too.
    """

    window: float
    ended: Mapping[str, int]
    http: list[float]
    end_to_end: list[float]
    reads: Mapping[str, list[float]]
    cpu: float
    in_all: int
    unended: int
    failures: Mapping[str, int]
