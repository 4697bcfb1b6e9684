"""The figure: a panel for every case, a bar for every peer."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxae.plotting.style import INK, TEXT, TITLE, new_figure, style_axes

_OURS, _THEIRS = "#2563eb", "#9ca3af"
_BAR = 0.22  # inches


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Medians, with the extremes of the rounds as lines."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "failed" not in row:
            groups.setdefault(row["case"], []).append(row)
    heights = [_BAR * len(group) + 0.7 for group in groups.values()]
    figure = new_figure(6.4, sum(heights))
    panels = figure.subplots(len(groups), height_ratios=heights, squeeze=False)[:, 0]
    for axes, (name, group) in zip(panels, groups.items(), strict=True):
        _panel(axes, name, group)
    return figure


def _panel(axes: Axes, name: str, rows: Sequence[dict[str, Any]]) -> None:
    style_axes(axes)
    start = "second_epoch_seconds" in rows[0]
    values = [
        row["second_epoch_seconds" if start else "images_per_second"] for row in rows
    ]
    medians = [value["median"] for value in values]
    errors = [
        [value["median"] - value["low"] for value in values],
        [value["high"] - value["median"] for value in values],
    ]
    axes.barh(
        [row["peer"] for row in rows],
        medians,
        xerr=errors,
        color=[_OURS if row["peer"] == "jaxae" else _THEIRS for row in rows],
        error_kw={"ecolor": INK, "elinewidth": 1.0},
    )
    axes.invert_yaxis()
    axes.set_title(name, size=TITLE, color=INK, loc="left")
    words = "seconds to the end of the first epoch, second start"
    axes.set_xlabel(words if start else "images per second", size=TEXT, color=INK)
