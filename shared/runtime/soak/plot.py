"""The samples of a run as one picture."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.runtime.soak.samples import PASSING, Sample

_MOST_LINES = 8


def draw(samples: Sequence[Sample], title: str, file: Path) -> None:
    """Write the picture, as SVG."""
    figure = new_figure(title)
    passing, state, log, memory = figure.subplots(2, 2).flat
    _lines(passing, "tables of what passes", samples, lambda each: _tables(each, passing=True))
    _lines(state, "tables of the state", samples, lambda each: _tables(each, passing=False))
    _lines(log, "log and stream", samples, lambda each: {"write-ahead log": each.wal, "stream": each.stream})
    _lines(memory, "memory of the processes (PSS)", samples, lambda each: each.memory)
    write(figure, file)


def new_figure(title: str) -> Figure:
    """Return an empty picture with a title."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    figure.suptitle(title)
    return figure


def write(figure: Figure, file: Path) -> None:
    """Write a picture as SVG; the same picture makes the same file."""
    mpl.rcParams["svg.hashsalt"] = "ftgo"
    figure.savefig(file, format="svg", metadata={"Date": None})


def _tables(sample: Sample, *, passing: bool) -> Mapping[str, int]:
    return {name: size for name, size in sample.tables.items() if (name in PASSING) is passing}


def _lines(axes: Axes, title: str, samples: Sequence[Sample], sizes: Callable[[Sample], Mapping[str, int]]) -> None:
    largest = sorted(sizes(samples[-1]).items(), key=lambda item: -item[1])[:_MOST_LINES]
    for name, _ in largest:
        axes.plot(
            [each.orders for each in samples], [sizes(each).get(name, 0) / (1 << 20) for each in samples], label=name
        )
    axes.set(title=title, xlabel="orders", ylabel="MiB")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
