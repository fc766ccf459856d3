"""What is judged as growth; a short soak from end to end, and the picture."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from tools.soak.plot import draw
from tools.soak.samples import Sample, Size
from tools.soak.verdict import growth, halves, trends
from tools.system.system import ROOT

MIB = 1 << 20


def sample(seconds: int, outbox: int = 50 * MIB) -> Sample:
    """One of a system with an outbox of that size, that places ten orders a second."""
    orders = 10 * seconds
    events = Size(bytes=orders << 10, rows=8 * orders, dead=0)
    return Sample(
        seconds=seconds,
        orders=orders,
        tables={"order.events": events, "order.outbox": Size(bytes=outbox, rows=outbox >> 10, dead=0)},
        wal=300 * MIB,
        behind=MIB,
        stream=20 * MIB,
        messages=20_000,
        memory={"order": 70 * MIB},
    )


def grown(samples: list[Sample]) -> list[str]:
    """What is said to have grown after 100 s."""
    judged = halves(samples, settled=100)
    assert judged is not None
    return [each.name for each in trends(*judged) if not each.flat]


def test_what_stays_as_large_as_it_is_has_not_grown_and_what_comes_before_does_not_matter() -> None:
    assert grown([sample(seconds, outbox=min(seconds, 100) * MIB) for seconds in range(0, 200, 10)]) == []


def test_what_goes_on_growing_is_named() -> None:
    assert grown([sample(seconds, outbox=seconds * MIB) for seconds in range(0, 200, 10)]) == ["order.outbox"]


def test_a_process_whose_memory_grows_is_named() -> None:
    samples = [replace(sample(each), memory={"order": each * MIB}) for each in range(0, 200, 10)]
    assert grown(samples) == ["memory of order"]


def test_nothing_is_said_of_too_few_samples() -> None:
    assert halves([sample(seconds) for seconds in range(0, 150, 10)], settled=100) is None


def test_the_state_grows_with_each_order() -> None:
    judged = halves([sample(seconds) for seconds in range(0, 200, 10)], settled=100)
    assert judged is not None
    (events,) = growth(*judged)
    assert (events.name, events.bytes_an_order, events.rows_an_order) == ("order.events", 1024, 8)


def test_the_same_samples_make_the_same_picture(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw([sample(seconds) for seconds in (0, 10, 20)], 10, "200 orders", tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert b"<svg" in (tmp_path / "one").read_bytes()


def test_everything_is_looked_at_and_a_run_that_is_too_short_is_not_judged(tmp_path: Path) -> None:
    """The stream has dropped by then what the outboxes still keep: that breaks no invariant."""
    ended = subprocess.run(
        [
            *("./ftgo", "soak", "--orders", "30", "--users", "2", "--retention", "5", "--every", "1"),
            *("--output", str(tmp_path / "soak")),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("FTGO_")},
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "it ended too soon" in ended.stdout, ended.stdout + ended.stderr
    samples = json.loads((tmp_path / "soak.json").read_text())["samples"]
    last = samples[-1]
    assert last["orders"] >= 30
    assert {f"order.{name}" for name in ("events", "outbox", "inbox", "sagas")} < last["tables"].keys()
    assert last["tables"]["order_history.orders"][0] > 0
    assert max(each["messages"] for each in samples) > 0
    assert {"postgres", "nats", "relay", "order", "order_history"} <= last["memory"].keys()
    assert min(last["wal"], *last["memory"].values()) > 0
    assert (tmp_path / "soak.svg").exists()
