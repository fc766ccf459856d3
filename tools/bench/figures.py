"""Statistics of many measurements."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar, Self


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long something took, in milliseconds."""

    SHARES: ClassVar[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}

    count: int
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self | None:
        """Return the latencies of these durations; None when there are none."""
        if not seconds:
            return None
        ordered = sorted(seconds)
        figures = {name: round(1000 * percentile(ordered, share), 2) for name, share in cls.SHARES.items()}
        return cls(count=len(ordered), **figures)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest measured value such that at least this share of the values is not greater."""
    return ordered[max(math.ceil(round(share * len(ordered), 9)), 1) - 1]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of several runs, and how far apart they were."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value."""
        return cls(median=median(values), least=min(values), most=max(values))

    def __str__(self) -> str:
        if self.least == self.most:
            return _four_digits(self.median)
        return f"{_four_digits(self.median)} ({_four_digits(self.least)} to {_four_digits(self.most)})"


def _four_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
