"""When a growing system is measured."""

from typing import Any

import pytest

from tools.bench import growth
from tools.bench.orders import Load, Measured
from tools.bench.tests.test_compare import run
from tools.system.process import LaunchError


async def grown(a_second: float, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[tuple[int, int | None]]]:
    """How long each run was, and what is said of it, where so many orders a second come to their end."""
    lengths = []

    async def measure(_system: Any, load: Load, number: int, _seed: int, warm_up: float, seconds: float) -> Measured:
        lengths.append(warm_up + seconds)
        return run(load, number, a_second, in_all=round(a_second * (warm_up + seconds)))

    monkeypatch.setattr(growth, "measure", measure)
    system: Any = None
    points = [each async for each in growth.grow(system, [1000, 30_000], users=5, seed=1, warm_up=1, seconds=3)]
    return lengths, [(each.orders, each.mark) for each in points]


async def test_it_is_measured_at_the_start_and_at_each_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, points = await grown(200, monkeypatch)
    assert points == [(0, 0), (800, None), (1800, 1000), (2600, None), (14_600, None), (26_600, None), (30_000, 30_000)]
    assert lengths == [4, 5, 4, 60, 60, 17, 4]


async def test_a_system_that_stands_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaunchError, match="after 0 orders, none comes to its end"):
        await grown(0, monkeypatch)
