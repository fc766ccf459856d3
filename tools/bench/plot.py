"""Draws measurements as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from tools.bench.compare import Both
from tools.bench.figures import Spread
from tools.bench.growth import Grown
from tools.bench.orders import Measured, Summary
from tools.pictures import name_lines, new_figure, write

if TYPE_CHECKING:  # they load the code that services are made of
    from tools.bench import history, store


def draw_orders(measured: Sequence[Measured], title: str, file: Path) -> None:
    """Draw throughput, latency, CPU and batches of each load, the median of its runs and their spread, as SVG."""
    figure = new_figure(title)
    throughput, latency, cpu, batches = figure.subplots(2, 2).flat
    runs = {
        str(load): [each for each in measured if each.load == load]
        for load in dict.fromkeys(each.load for each in measured)
    }
    summaries = {name: Summary.of(own) for name, own in runs.items()}
    _points(throughput, "", {name: each.a_second for name, each in summaries.items()})
    throughput.set(title="sagas that ended, each second")
    for what, label in {"HTTP": "answered", "saga": "ended"}.items():
        for share in ("p50", "p99"):
            found = {name: each.latencies[what] for name, each in summaries.items() if each.latencies[what]}
            _points(latency, f"{label}, {share}", {name: each[share] for name, each in found.items()})
    latency.set(title="from the request to its answer, and to the end of the saga", ylabel="ms", yscale="log")
    parts = {name: [each.cpu for each in own] for name, own in runs.items()}
    _stacked(
        cpu,
        list(parts),
        [{part: mean(each.get(part, 0.0) for each in own) for part in own[0]} for own in parts.values()],
    )
    cpu.set(title="CPU for each saga, the mean of the runs", ylabel="ms")
    for what in sorted({what for each in measured for what in each.batches}):
        sizes = {name: [each.batches[what] for each in own if what in each.batches] for name, own in runs.items()}
        _points(batches, what, {name: Spread.of(each) for name, each in sizes.items() if each})
    batches.set(title="mean size of batches")
    for axes in (throughput, cpu, batches):
        axes.set_ylim(bottom=0)
    for axes in (latency, cpu, batches):
        name_lines(axes)
    write(figure, file)


def draw_compared(alternatives: Mapping[str, Both], title: str, file: Path) -> None:
    """Draw throughput, latencies and CPU of each alternative, with the spread of the runs, as SVG."""
    figure = new_figure(title)
    throughput, closed_cpu, latency, open_cpu = figure.subplots(2, 2).flat
    first = next(iter(alternatives.values()))
    each = alternatives.items()
    _bars(throughput, f"{first.closed.load}: orders/s", {name: both.closed.a_second for name, both in each})
    _bars(closed_cpu, f"{first.closed.load}: CPU an order, ms", {name: both.closed.cpu for name, both in each})
    seen = {name: both.open.latencies["saga"]["p50"] for name, both in each if both.open.latencies["saga"]}
    _bars(latency, f"{first.open.load}: to Approved, p50, ms", seen)
    latency.set(xscale="log", xlim=(1, None))
    _bars(open_cpu, f"{first.open.load}: CPU an order, ms", {name: both.open.cpu for name, both in each})
    write(figure, file)


def draw_growth(points: Sequence[Grown], title: str, file: Path) -> None:
    """Draw throughput, latency, CPU and memory by the number of earlier orders, as SVG."""
    figure = new_figure(title)
    throughput, latency, cpu, memory = figure.subplots(2, 2).flat
    orders = [each.orders for each in points]
    throughput.plot(orders, [each.measured.a_second for each in points], marker="o")
    throughput.set(title="approved orders, each second")
    for share in ("p50", "p99"):
        latency.plot(
            orders, [getattr(each.measured.end_to_end, share, None) for each in points], marker="o", label=share
        )
    latency.set(title="from the request to Approved", ylabel="ms")
    parts = list(points[0].measured.cpu)
    cpu.stackplot(orders, [[each.measured.cpu.get(part, 0.0) for each in points] for part in parts], labels=parts)
    cpu.set(title="CPU for each order", ylabel="ms")
    sizes = [sum(each.measured.memory.values()) / 1e6 for each in points]
    memory.plot(orders, sizes, marker="o")
    memory.set(title="memory of all processes (PSS)", ylabel="MB")
    for axes in (throughput, latency, cpu, memory):
        axes.set_xlabel("orders before")
        axes.set_ylim(bottom=0)
    for axes in (latency, cpu):
        name_lines(axes)
    write(figure, file)


def draw_history(runs: "Sequence[history.Measured]", title: str, file: Path) -> None:
    """Draw how long pages take by filter, one run each, as SVG."""
    figure = new_figure(title)
    for axes, way in zip(figure.subplots(2, 1).flat, ("search", "HTTP"), strict=True):
        own = [each for each in runs if each.way == way]
        names = [f"{each.filter} #{each.number}" for each in own]
        for page in ("first", "far"):
            for share in ("p50", "p99"):
                values = [getattr(getattr(each, page), share, None) for each in own]
                label = f"{'first' if page == 'first' else '100th'} page, {share}"
                axes.plot(names, values, marker="o", linestyle="none", label=label)
        axes.set(title=f"one page, {way}", ylabel="ms")
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", labelrotation=20)
        name_lines(axes)
    write(figure, file)


def draw_store(runs: "Sequence[store.Measured]", title: str, file: Path) -> None:
    """Draw how long orders take to load, by their number of events, and what a rebuild costs, one run each, as SVG."""
    figure = new_figure(title)
    loading, rebuilding = figure.subplots(1, 2).flat
    for run in runs:
        events = [each.events for each in run.loaded]
        for way, latencies in {
            "by snapshot": [each.with_snapshot for each in run.loaded],
            "without": [each.without for each in run.loaded],
        }.items():
            p50 = [getattr(each, "p50", None) for each in latencies]
            loading.plot(events, p50, marker="o", label=f"{way} #{run.number}")
    loading.set(title="loading an order, p50", xlabel="events", ylabel="ms", xscale="log", yscale="log")
    _stacked(
        rebuilding,
        [f"{each.rebuilt.a_second:,.0f}/s #{each.number}" for each in runs],
        [each.rebuilt.cpu for each in runs],
    )
    rebuilding.set(title="rebuilding the read model: CPU for each event", ylabel="µs")
    for axes in (loading, rebuilding):
        name_lines(axes)
    write(figure, file)


def _points(axes: Axes, label: str, spreads: Mapping[str, Spread]) -> None:
    medians = [each.median for each in spreads.values()]
    axes.errorbar(list(spreads), medians, _reach(spreads), label=label, marker="o", capsize=3)


def _bars(axes: Axes, title: str, spreads: Mapping[str, Spread]) -> None:
    medians = [each.median for each in spreads.values()]
    axes.barh(list(spreads), medians, xerr=_reach(spreads), capsize=3)
    axes.invert_yaxis()
    axes.set(title=title)


def _reach(spreads: Mapping[str, Spread]) -> list[list[float]]:
    """How far the runs are below and above the medians."""
    return [
        [each.median - each.least for each in spreads.values()],
        [each.most - each.median for each in spreads.values()],
    ]


def _stacked(axes: Axes, names: Sequence[str], runs: Sequence[Mapping[str, float]]) -> None:
    bottom = [0.0] * len(runs)
    for part in runs[0]:
        heights = [each.get(part, 0.0) for each in runs]
        axes.bar(names, heights, bottom=bottom, label=part)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
