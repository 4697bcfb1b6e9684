"""The figure: what comes out, against what would be ideal."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    LogLocator,
    NullLocator,
    PercentFormatter,
)

from jaxae.plotting.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    TITLE,
    add_legend,
    label_axes,
    new_figure,
    style_axes,
)
from train.scaling.checks import Row
from train.scaling.measure import Measured
from train.scaling.study import Study
from train.scaling.words import WORDS

_COLORS = {"strong": BLUE, "weak": ORANGE}
_IDEAL = {"color": FAINT, "linestyle": "--", "linewidth": 1.0}


def draw(study: Study, rows: Sequence[Row], title: str) -> Figure:
    """Two panels: speed or time, and efficiency, both over the devices."""
    predicted, modes = study.arguments.compile_only, study.arguments.modes
    figure = new_figure(7.2, 4.4)
    figure.suptitle(title, size=TITLE, color=INK, x=0.01, ha="left")
    left, right = figure.subplots(1, 2)
    for mode in modes:
        own = [row for row in rows if row.point.mode == mode]
        if predicted:
            _curve(left, own, "compute_seconds", "o-", f"{mode}: compute")
            _curve(left, own, "communicate_seconds", "s:", f"{mode}: communicate")
            _curve(right, own, "efficiency", "o-", f"{mode}: without overlap")
            _curve(right, own, "overlapped_efficiency", "s:", f"{mode}: full overlap")
        else:
            _ideal_speeds(left, own, "ideal" if mode == modes[0] else "")
            _curve(left, own, "examples_per_second", "o-", WORDS[mode])
            _curve(right, own, "efficiency", "o-", mode)
    right.axhline(1.0, **_IDEAL, label="ideal")
    right.set_ylim(bottom=0.0, top=max(1.1, right.get_ylim()[1]))
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _log_axis(left, "s" if predicted else "")
    step, speed = ("time", "A step, roofline estimate"), ("images per second", "Speed")
    label_axes(left, "devices", *(step if predicted else speed))
    best = f"relative to {'one' if predicted else 'the fewest'}"
    label_axes(right, "devices", f"images/s per device, {best}", "Efficiency")
    for axes in (left, right):
        style_axes(axes)
        _devices_axis(axes, rows)
        # Below, as there is no corner that no line comes to.
        add_legend(axes, loc="upper left", bbox_to_anchor=(0.0, -0.15), borderpad=0.0)
    return figure


def _curve(axes: Axes, rows: Sequence[Row], name: str, style: str, label: str) -> None:
    """A value of the rows by its name; one device alone communicates nothing."""
    values = [getattr(row, name) for row in rows]
    if any(values):
        counts, color = _counts(rows), _COLORS[rows[0].point.mode]
        axes.plot(counts, values, style, color=color, markersize=4, label=label)


def _ideal_speeds(axes: Axes, rows: Sequence[Row], label: str) -> None:
    speeds = [
        row.examples_per_second / row.efficiency
        for row in rows
        if isinstance(row, Measured)
    ]
    axes.plot(_counts(rows), speeds, **_IDEAL, label=label)


def _counts(rows: Sequence[Row]) -> list[int]:
    return sorted({row.point.devices for row in rows})


def _log_axis(axes: Axes, unit: str) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten, with the prefixes of units."""
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter(unit))


def _devices_axis(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(_counts(rows)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
