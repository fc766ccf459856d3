"""Measures the same load on a system that has had more and more orders."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count

from tools.bench.orders import Load, Measured, measure
from tools.bench.running import Running
from tools.system.process import LaunchError
from tools.system.system import Arrangement

ARRANGEMENT = Arrangement(variables=lambda _: {"FTGO_STREAM_MAX_BYTES": str(60 << 30)})
"""Nothing is old enough to be deleted before the run ends, so the stream needs more room than usual."""
_FIRST_RATE = 500.0
"""The assumed orders per second, until the rate has been measured."""
_LONGEST_FILL = 60.0
_SHORTEST_FILL = 5.0


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One run of the load, after a number of orders. `mark` is the planned number; None if the run only adds orders."""

    orders: int
    mark: int | None
    measured: Measured


async def grow(
    system: Running, marks: Sequence[int], users: int, seed: int, warm_up: float, seconds: float
) -> AsyncIterator[Grown]:
    """Measure at the start and after each number of orders. Runs that add orders are measured too. LaunchError."""
    load, numbers = Load(users=users), count(1)
    orders, rate = 0, _FIRST_RATE
    for mark in (0, *marks):
        while orders < mark:
            length = min(max((mark - orders) / rate, _SHORTEST_FILL), _LONGEST_FILL)
            filled = await measure(system, load, next(numbers), seed, 0.0, length)
            if not filled.in_all:
                raise LaunchError(f"after {orders} orders, none comes to its end: {dict(filled.failures)}")
            yield Grown(orders=orders, mark=None, measured=filled)
            orders += filled.in_all
            rate = filled.in_all / length
        measured = await measure(system, load, next(numbers), seed, warm_up, seconds)
        yield Grown(orders=orders, mark=mark, measured=measured)
        orders += measured.in_all
