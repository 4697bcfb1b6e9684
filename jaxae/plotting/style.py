"""What all figures have in common: sizes, colours, quiet axes."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 200
"""Pixels per inch: twice a common screen's, so that half size is exact as well."""

TEXT, TITLE, PAD = 8.0, 9.5, 3.0  # points
INK, FAINT, _GRID = "#22262b", "#6b7280", "#e5e7eb"
BLUE, ORANGE = "#2563eb", "#ea7317"


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure; width and height in inches."""
    return Figure((width, height), dpi=DPI, layout="constrained", facecolor="white")


def style_axes(axes: Axes) -> None:
    """Faint grid behind the data, no box, quiet ticks."""
    axes.set_facecolor("white")
    axes.set_axisbelow(True)
    axes.grid(True, color=_GRID, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=TEXT, color=FAINT, labelcolor=INK)


def label_axes(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """What the axes show, and a title above their left end."""
    axes.set_xlabel(x, size=TEXT, color=INK)
    axes.set_ylabel(y, size=TEXT, color=INK)
    axes.set_title(title, size=TITLE, color=INK, loc="left")


def add_legend(axes: Axes, **where: Any) -> None:
    """All that has a label, on white: lines may pass below it."""
    look = {"labelcolor": INK, "edgecolor": "white", "framealpha": 0.9}
    axes.legend(fontsize=TEXT, **look, **where)
