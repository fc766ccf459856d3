"""The load generator's input and output, as JSON because it is a separate process."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MEASURING = b"measuring\n"
MEASURED = b"measured\n"
"""Lines that the generator prints when its measuring begins and when it ends. The last line is its `Outcome`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A load: a number of users with one saga at a time each (closed loop), or a rate of sagas per second (open loop).

    With `keys`, each request that changes something has an idempotency key, as a client's should. With `reads`, the
    order and its consumer's history are read when a saga has ended.
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
    """The result of a plan. Durations are in seconds.

    `ended` counts the sagas that ended within the window; `http`, `end_to_end` and `reads` are of those begun in it.
    `in_all` also counts those before and after it.
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
