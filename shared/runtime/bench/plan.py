"""What the load generator is told, and what it tells: as JSON, since it's a process of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MEASURING = b"measuring\n"
MEASURED = b"measured\n"
"""Lines that the generator says when the window in which it measures begins and ends. The last one is its `Outcome`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A load: so many users one after another each (closed loop), or so many sagas a second (open loop)."""

    urls: Mapping[str, str]
    nats_url: str
    nats_user: str
    nats_password: str = field(repr=False)
    users: int | None
    rate: float | None
    mix: bool
    warm_up: float
    seconds: float
    seed: str
    consumers: int
    restaurants: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it. Durations are seconds.

    `ended` are the sagas that ended within the window; `http` and `end_to_end` are of those begun in it.
    """

    window: float
    ended: Mapping[str, int]
    http: list[float]
    end_to_end: list[float]
    cpu: float
    unended: int
    failures: Mapping[str, int]
