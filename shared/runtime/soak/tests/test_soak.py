"""A short soak from end to end, and the picture."""

import json
import os
import subprocess
from pathlib import Path
from random import SystemRandom

from shared.runtime.soak.plot import draw
from shared.runtime.soak.samples import PASSING, Sample
from shared.runtime.system import ROOT


def sample(orders: int) -> Sample:
    tables = {"events": orders << 20, "outbox": 5 << 20}
    return Sample(seconds=orders, orders=orders, tables=tables, wal=1 << 26, stream=1 << 20, memory={"order": 1 << 26})


def test_the_same_samples_make_the_same_picture(tmp_path: Path) -> None:
    samples = [sample(orders) for orders in (0, 10, 20)]
    for name in ("one", "two"):
        draw(samples, "20 orders", tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert b"<svg" in (tmp_path / "one").read_bytes()


def test_a_few_orders_are_seen_through_and_everything_is_measured(tmp_path: Path) -> None:
    offset = SystemRandom().randrange(3000, 17000)
    ended = subprocess.run(
        [
            *("./ftgo", "soak", "--orders", "3", "--clients", "1", "--every", "1"),
            *("--output", str(tmp_path / "soak"), "--port-offset", str(offset)),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("FTGO_")},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    samples = [Sample(**each) for each in json.loads((tmp_path / "soak.json").read_text())["samples"]]
    assert samples[-1].orders == 3
    assert set(samples[-1].tables) > PASSING
    assert samples[-1].wal > 0
    assert samples[-1].stream > 0
    assert {"postgres", "nats", "relay", "order", "order_history"} <= samples[-1].memory.keys()
    assert min(samples[-1].memory.values()) > 0
    assert (tmp_path / "soak.svg").exists()
