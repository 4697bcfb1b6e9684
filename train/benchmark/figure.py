"""The figure: a panel for every case, a bar for every peer."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxae.plotting.style import BLUE, INK, label_axes, new_figure, style_axes
from train.benchmark.results import REFERENCE, Spread

_GREY = "#9ca3af"
_BAR = 0.22  # inches


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Medians, with the extremes of the rounds as lines."""
    sound = [row for row in rows if "failed" not in row]
    groups = [list(group) for _, group in groupby(sound, lambda row: row["case"])]
    heights = [_BAR * len(group) + 0.7 for group in groups]
    figure = new_figure(6.4, sum(heights))
    panels = figure.subplots(len(groups), height_ratios=heights, squeeze=False)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        _panel(axes, group)
    return figure


def _panel(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    start = "second_epoch_seconds" in rows[0]
    name = "second_epoch_seconds" if start else "examples_per_second"
    medians, low, high = np.array([Spread(**row[name]) for row in rows]).T
    style_axes(axes)
    axes.grid(False, axis="y")
    axes.barh(
        [row["peer"] for row in rows],
        medians,
        xerr=[medians - low, high - medians],
        color=[BLUE if row["peer"] == REFERENCE else _GREY for row in rows],
        error_kw={"ecolor": INK, "elinewidth": 1.0},
    )
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter("{x:,.10g}")
    words = "seconds to the end of the first epoch, second start"
    label_axes(axes, words if start else "images per second", title=rows[0]["case"])
