"""What `./ftgo bench --check` holds ratios to. That it measures them is seen by running it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools.bench import check
from tools.cli import app
from tools.system.process import LaunchError


def test_a_ratio_has_fallen_when_it_is_less_than_half_of_what_was_kept() -> None:
    assert check.fallen({"a": 2.0, "b": 1.9, "c": 100.0}, {"a": 4, "b": 4, "c": 4}) == ["b"]


def test_what_is_kept_is_what_is_measured(tmp_path: Path) -> None:
    kept = check.kept_ratios()
    assert all(ratio > 1 for ratio in kept.values())
    other = tmp_path / "ratios.json"
    other.write_text(json.dumps({**kept, "magic": 3}))
    with pytest.raises(LaunchError, match=r"differ: magic$"):
        check.kept_ratios(other)
    with pytest.raises(LaunchError, match="can't be read"):
        check.kept_ratios(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("measured", "exit_code", "rounds"), [([4.0], 0, 1), ([0.5, 1.0, 3.0], 0, 3), ([0.5, 1.0, 0.1, 9.0], 1, 3)]
)
def test_a_ratio_that_has_fallen_is_measured_again_before_it_fails(
    measured: Sequence[float], exit_code: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def side_by_side(_names: Sequence[str]) -> AsyncIterator[check.Systems]:
        yield {}

    steady, wavering = list[int](), iter(measured)

    async def one(_systems: check.Systems, number: int) -> tuple[float, ...]:
        steady.append(number)
        return (8.0,)

    async def other(_systems: check.Systems, _number: int) -> tuple[float, ...]:
        return (next(wavering),)

    comparisons: dict[tuple[str, ...], Callable[[check.Systems, int], Awaitable[tuple[float, ...]]]]
    comparisons = {("one",): one, ("other",): other}
    monkeypatch.setattr(check, "side_by_side", side_by_side)
    monkeypatch.setattr(check, "_COMPARISONS", comparisons)
    monkeypatch.setattr(check, "kept_ratios", lambda: {"one": 8, "other": 5})
    assert CliRunner().invoke(app, ["bench", "--check"]).exit_code == exit_code
    assert steady == [1]
    assert len([*wavering]) == len(measured) - rounds


def test_a_check_has_no_command() -> None:
    assert CliRunner().invoke(app, ["bench", "--check", "orders"]).exit_code == 2
