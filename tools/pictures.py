"""Draws charts as SVG."""

from pathlib import Path

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLORS = (*mpl.color_sequences["tab10"], *mpl.color_sequences["Dark2"])
"""One for each program: the usual ten come again at the eleventh."""


def new_figure(title: str, height: float = 8) -> Figure:
    """Return an empty chart with a title."""
    mpl.rcParams["axes.prop_cycle"] = cycler(color=_COLORS)
    figure = Figure(figsize=(11, height), layout="constrained")
    figure.suptitle(title)
    return figure


def name_lines(axes: Axes) -> None:
    """Add a legend beside the axes, where it hides nothing."""
    axes.legend(fontsize="xx-small", loc="center left", bbox_to_anchor=(1, 0.5))


def write(figure: Figure, file: Path) -> None:
    """Write a chart as SVG; the same chart always gives the same file."""
    mpl.rcParams["svg.hashsalt"] = "ftgo"
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
