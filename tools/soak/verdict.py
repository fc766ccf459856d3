"""Judges whether temporary data has kept its size once the retentions had passed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_high

from tools.soak.samples import Sample

PASSING = frozenset(
    {"outbox", "inbox", "sagas", "idempotency_keys", "set_aside", "subscriptions", "subscription_checkpoints"}
    | {"relay_checkpoints", "clock_readings"}
)
"""Tables of temporary data. The others hold the state, which grows with use."""
FEWEST = 3
"""The least number of samples in each half; with fewer there is no verdict."""

_SHARE = 1.2
_SLACK = {"table": 4 << 20, "log": 48 << 20, "stream": 4 << 20, "memory": 8 << 20}
"""By how much the second half may exceed the first: a fifth, and this many bytes, because vacuums and checkpoints come
at irregular times. A segment of the log alone is 16 MiB."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The size of something in both halves of the judged samples: the maximum, or for the log the median."""

    name: str
    first: int
    second: int
    slack: int

    @property
    def flat(self) -> bool:
        """Whether it has not grown."""
        return self.second <= self.first * _SHARE + self.slack


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A table that grows by design, and by how many bytes and rows per order."""

    name: str
    size: int
    bytes_an_order: float
    rows_an_order: float


def is_passing(table: str) -> bool:
    """Whether a table such as `order.outbox` holds temporary data."""
    return table.partition(".")[2] in PASSING


def halves(samples: Sequence[Sample], settled: float) -> tuple[Sequence[Sample], Sequence[Sample]] | None:
    """Return the two halves of the samples after `settled` seconds, which are judged. None when these are too few."""
    judged = [each for each in samples if each.seconds >= settled]
    middle = len(judged) // 2
    return None if middle < FEWEST else (judged[:middle], judged[middle:])


def trends(first: Sequence[Sample], second: Sequence[Sample]) -> list[Trend]:
    """Judge all that must not grow."""
    before, then = (_levels(each) for each in (first, second))
    return [
        Trend(name=name, first=before.get((kind, name), 0), second=value, slack=_SLACK[kind])
        for (kind, name), value in then.items()
    ]


def growth(first: Sequence[Sample], second: Sequence[Sample]) -> list[Growth]:
    """Return how the tables of the state have grown, the largest first."""
    begin, end = first[0], second[-1]
    orders = max(end.orders - begin.orders, 1)
    return sorted(
        (
            Growth(
                name=name,
                size=size.bytes,
                bytes_an_order=(size.bytes - begin.tables[name].bytes) / orders,
                rows_an_order=(size.rows - begin.tables[name].rows) / orders,
            )
            for name, size in end.tables.items()
            if not is_passing(name)
        ),
        key=lambda each: -each.size,
    )


def _levels(samples: Sequence[Sample]) -> dict[tuple[str, str], int]:
    """The maximum of each. For the log the median: checkpoints make it a sawtooth, whose maximum says little."""
    taken: dict[tuple[str, str], list[int]] = {}
    for sample in samples:
        for key, value in _of(sample):
            taken.setdefault(key, []).append(value)
    return {key: median_high(values) if key[0] == "log" else max(values) for key, values in taken.items()}


def _of(sample: Sample) -> Iterator[tuple[tuple[str, str], int]]:
    """The values of a sample that must not grow, by kind and name."""
    for name, size in sample.tables.items():
        if is_passing(name):
            yield ("table", name), size.bytes
    yield ("log", "write-ahead log"), sample.wal
    yield ("log", "log not confirmed by the relay"), sample.behind
    yield ("stream", "stream"), sample.stream
    for name, pss in sample.memory.items():
        yield ("memory", f"memory of {name}"), pss
