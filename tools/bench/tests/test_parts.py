"""That parts of a system are measured as they are: on a real one, with few of everything."""

import shutil
from pathlib import Path

import pytest

from kernel.topology import BY_NAME
from tools.bench import history, relay, start, store
from tools.bench.figures import Latency
from tools.bench.history import FILTERS, LARGE, History
from tools.bench.running import Running, running, temporary_folder
from tools.system import up
from tools.system.process import LaunchError
from tools.system.system import RELAY


async def test_search_store_and_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as system:
        await searches_are_measured(system, monkeypatch)
        await the_store_is_measured(system, monkeypatch)
        await system.supervisor.bring_up(RELAY)
        await the_relay_is_measured(system)


async def searches_are_measured(system: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FEW": 3, "TIMES": 2, "FAR": 2, "_CHUNK": 700}.items():
        monkeypatch.setattr(history, name, value)
    written = History(2000, seed=1)
    await history.fill(system, written)
    async with system.admin("order_history") as connection:
        assert await connection.fetchval("select count(*) from orders") == 2000
        large = await connection.fetchval("select count(*) from orders where consumer_id = any($1)", written.large)
        assert large == pytest.approx(400, rel=0.2)
        words = await connection.fetch("select distinct unnest(string_to_array(words, ' ')) from orders")
        assert {history.COMMON, history.RARE} <= {word for (word,) in words}

    measured = await history.measure(system, written, 1, seed=1)
    assert [(each.filter, each.way) for each in measured] == [(f, way) for f in FILTERS for way in ("search", "HTTP")]
    for search, http in zip(measured[::2], measured[1::2], strict=True):
        assert search.longest == http.longest, search.filter
        assert counts(search.first, search.far, search.any) == counts(http.first, http.far, http.any)
    everything = measured[0]
    assert counts(everything.first) == [3 + 2 * LARGE]
    assert counts(everything.far)[0] >= 2 * (LARGE - 3)  # most of them have more than 20 orders
    await empty(system)


async def the_store_is_measured(system: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "UNITS", 3)
    monkeypatch.setattr(store, "TIMES", 2)
    [measured] = await store.measure(system, 1, [1, 50, 120], orders=30)
    assert measured.rebuilt.events == 5 * 30
    assert measured.rebuilt.cpu["rebuild"] > 0
    async with system.admin("order_history") as connection:
        rebuilt = await connection.fetch("select status, delivery_status, count(*) from orders group by 1, 2")
        assert [tuple(row) for row in rebuilt] == [("Approved", "DELIVERED", 30)]
    assert [(each.events, *counts(each.latency)) for each in measured.appended] == [(1, 3), (50, 3)]
    loaded = [(each.events, *counts(each.with_snapshot, each.without)) for each in measured.loaded]
    assert loaded == [(1, 2, 2), (50, 2, 2), (120, 2, 2)]


async def the_relay_is_measured(system: Running) -> None:
    measured = await relay.measure(system, 1, seed=1, rate=50, seconds=0.2, backlog=5000)
    assert counts(measured.commit, measured.to_subscriber) == [10, 10]
    assert (measured.drained, measured.headers) == (5000, 14)
    assert measured.a_second > 0
    async with system.admin("order") as connection:
        backlog = "select count(*) from outbox where headers = (select headers from outbox order by id desc limit 1)"
        assert await connection.fetchval(backlog) == 5001


async def empty(system: Running) -> None:
    """Without what was written for the searches."""
    async with system.admin("order_history") as connection:
        await connection.execute("truncate orders")


def counts(*latencies: Latency | None) -> list[int]:
    """Of how many measurements each is."""
    return [0 if each is None else each.count for each in latencies]


async def test_a_system_is_started_on_nothing_and_on_what_is_there() -> None:
    with temporary_folder() as folder:
        measured, where = await start.measure(folder, 1, seed=1, seconds=1)
    assert measured.orders > 0
    assert where.settings["fsync"] == "on"
    for memory in (measured.empty.memory, measured.loaded, measured.used.memory):
        assert memory.keys() == {start.SUPERVISOR, "postgres", "nats", RELAY, *BY_NAME}
        assert all(size > 1e6 for size in memory.values())


async def test_a_start_that_fails_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "ROOT", tmp_path)
    (tmp_path / "ftgo").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ftgo").chmod(0o755)
    told = r"^./ftgo up does not start; data and logs are in .*ftgo-bench-"
    with pytest.raises(LaunchError, match=told) as failure, temporary_folder() as folder:
        await start.measure(folder, 1, seed=1, seconds=1)
    assert str(failure.value).endswith(str(folder))
    shutil.rmtree(folder)
