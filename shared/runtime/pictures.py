"""Pictures of figures, as SVG."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure


def new_figure(title: str, height: float = 8) -> Figure:
    """Return an empty picture with a title."""
    figure = Figure(figsize=(11, height), layout="constrained")
    figure.suptitle(title)
    return figure


def write(figure: Figure, file: Path) -> None:
    """Write a picture as SVG; the same picture makes the same file."""
    mpl.rcParams["svg.hashsalt"] = "ftgo"
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
