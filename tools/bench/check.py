"""Ratios of figures that were measured in one run. Unlike the figures, they are much the same on any machine.

Each ratio compares the system as it is with a system in which one thing is done differently.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tools.bench.compare import AS_IT_IS, BATCHES_OF_1, POLLING, side_by_side
from tools.bench.orders import Load, Measured, measure
from tools.bench.running import Running
from tools.bench.store import orders_alone
from tools.system.process import LaunchError
from tools.system.system import ROOT

KEPT = ROOT / "docs/benchmarks/ratios.json"
"""The ratios that the measured ones are compared with."""
LEAST_SHARE = 0.5
"""The share of a kept ratio that the measured ratio must at least reach."""
ROUNDS = 3
"""The most rounds for a ratio that is too low. Other work on the machine hides differences, but makes none."""

THROUGHPUT = "orders a second, batches to single messages"
CPU = "CPU an order, single messages to batches"
LATENCY = "time to Approved, relay that polls to relay that follows the log"
SNAPSHOTS = "loading an order of 1,000 events, all of them to its snapshot"

_EVENTS = 1000
_MANY = Load(users=40)
_FEW = Load(rate=10)
_WARM_UP = 1.5
_SECONDS = 3.0

Systems = Mapping[str, Running]


async def check(kept: Mapping[str, float], tell: Callable[[str, float], None]) -> dict[str, float]:
    """Measure all ratios, and report each with `tell`; returns the best of each ratio's rounds. LaunchError."""
    best: dict[str, float] = {}
    async with side_by_side((AS_IT_IS, BATCHES_OF_1, POLLING)) as systems:
        for names, compare in _COMPARISONS.items():
            for number in range(1, ROUNDS + 1):
                for name, ratio in zip(names, await compare(systems, number), strict=True):
                    tell(name, ratio)
                    best[name] = max(ratio, best.get(name, 0.0))
                if not fallen({name: best[name] for name in names}, kept):
                    break
    return best


def fallen(ratios: Mapping[str, float], kept: Mapping[str, float]) -> list[str]:
    """Return which ratios have fallen too far below the kept ones."""
    return [name for name, ratio in ratios.items() if ratio < LEAST_SHARE * kept[name]]


def kept_ratios(file: Path = KEPT) -> dict[str, float]:
    """Return the ratios to compare with. LaunchError when the file names other ratios than those measured."""
    try:
        kept: dict[str, float] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise LaunchError(f"{file} can't be read: {error}") from None
    measured = {name for names in _COMPARISONS for name in names}
    if odd := measured ^ kept.keys():
        raise LaunchError(f"{file} and what is measured differ: {', '.join(sorted(odd))}")
    return kept


async def _batches(systems: Systems, number: int) -> tuple[float, ...]:
    large, single = [await _measured(systems[name], _MANY, number) for name in (AS_IT_IS, BATCHES_OF_1)]
    return large.a_second / single.a_second, single.cpu_in_all / large.cpu_in_all


async def _relays(systems: Systems, number: int) -> tuple[float, ...]:
    following, polling = [await _measured(systems[name], _FEW, number) for name in (AS_IT_IS, POLLING)]
    assert following.end_to_end is not None
    assert polling.end_to_end is not None
    return (polling.end_to_end.p50 / following.end_to_end.p50,)


async def _snapshots(systems: Systems, _number: int) -> tuple[float, ...]:
    async with orders_alone(systems[AS_IT_IS]) as orders:
        loaded = await orders.load(_EVENTS)
    assert loaded.with_snapshot is not None
    assert loaded.without is not None
    return (loaded.without.p50 / loaded.with_snapshot.p50,)


_COMPARISONS: Mapping[tuple[str, ...], Callable[[Systems, int], Awaitable[tuple[float, ...]]]] = {
    (THROUGHPUT, CPU): _batches,
    (LATENCY,): _relays,
    (SNAPSHOTS,): _snapshots,
}
"""The last one must be last, because it stops programs."""


async def _measured(system: Running, load: Load, number: int) -> Measured:
    """Raises LaunchError when not every order came to its end, or none did within the measured time."""
    measured = await measure(system, load, number, 1, _WARM_UP, _SECONDS)
    if measured.failures or measured.unended or not measured.ended:
        raise LaunchError(f"{load}: {measured.unended} did not end, {dict(measured.failures)}")
    return measured
