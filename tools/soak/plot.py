"""The samples of a run as one picture."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from tools.pictures import name_lines, new_figure, write
from tools.soak.samples import Sample, Size
from tools.soak.verdict import is_passing

_MAX_LINES = 12


def draw(samples: Sequence[Sample], settled: float, title: str, file: Path) -> None:
    """Write the picture, as SVG, with a line where the samples that are judged begin."""
    figure = new_figure(title, height=11)
    passing, rows, log, memory, state, orders = figure.subplots(3, 2).flat
    mib = 1 / (1 << 20)
    _lines(passing, "tables of what passes (MiB)", samples, lambda each: _tables(each, _bytes, passing=True), mib)
    _lines(rows, "their rows (thousands)", samples, lambda each: _tables(each, _rows, passing=True), 1 / 1000)
    _lines(log, "log and stream (MiB)", samples, _log, mib)
    _lines(memory, "memory of the processes (PSS, MiB)", samples, lambda each: each.memory, mib)
    _lines(state, "tables of the state (MiB)", samples, lambda each: _tables(each, _bytes, passing=False), mib)
    _lines(orders, "orders placed (thousands)", samples, lambda each: {"orders": each.orders}, 1 / 1000)
    for axes in (passing, rows, log, memory, state, orders):
        axes.axvline(settled / 60, color="grey", linewidth=0.8, linestyle=":")
    write(figure, file)


def _bytes(size: Size) -> int:
    return size.bytes


def _rows(size: Size) -> int:
    return size.rows


def _tables(sample: Sample, measure: Callable[[Size], int], *, passing: bool) -> Mapping[str, int]:
    """Sum up the tables that have the same name."""
    sizes: Counter[str] = Counter()
    for name, size in sample.tables.items():
        if is_passing(name) is passing:
            sizes[name.partition(".")[2]] += measure(size)
    return sizes


def _log(sample: Sample) -> Mapping[str, int]:
    return {"write-ahead log": sample.wal, "not confirmed by the relay": sample.behind, "stream": sample.stream}


def _lines(
    axes: Axes, title: str, samples: Sequence[Sample], values: Callable[[Sample], Mapping[str, int]], scale: float
) -> None:
    largest = sorted(values(samples[-1]).items(), key=lambda item: -item[1])[:_MAX_LINES]
    minutes = [each.seconds / 60 for each in samples]
    for name, _ in largest:
        axes.plot(minutes, [values(each).get(name, 0) * scale for each in samples], label=name)
    axes.set(title=title, xlabel="minutes")
    axes.set_ylim(bottom=0)
    name_lines(axes)
