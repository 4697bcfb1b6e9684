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

from jaxae.plotting.style import FAINT, INK, TEXT, TITLE, new_figure, style_axes
from train.scaling.checks import Row
from train.scaling.measure import Measured
from train.scaling.predict import Predicted
from train.scaling.study import Study

_COLORS = {"strong": "#2563eb", "weak": "#ea7317"}
_WORDS = {"strong": "strong: the batch stays", "weak": "weak: the batch grows"}
_SIMULATED = "simulated devices share one processor: speeds mean nothing"


def draw(study: Study, rows: Sequence[Row], simulated: bool) -> Figure:
    """Two panels: speed or time, and efficiency, both over the devices."""
    figure = new_figure(7.2, 3.6)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        _devices_axis(axes, rows)
    for mode in study.arguments.modes:
        own = [row for row in rows if row.point.mode == mode]
        measured = [row for row in own if isinstance(row, Measured)]
        predicted = [row for row in own if isinstance(row, Predicted)]
        if measured:
            _speed(left, mode, measured)
        if predicted:
            _times(left, mode, predicted)
        _efficiency(right, mode, own)
    _log_axis(left)
    right.axhline(1.0, color=FAINT, linestyle="--", linewidth=1.0, label="ideal")
    right.set_ylim(bottom=0.0, top=max(1.1, right.get_ylim()[1]))
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if study.arguments.compile_only:
        _label(left, "A step, roofline estimate", "seconds")
        _label(right, "Efficiency", "images/s per device, relative to one")
    else:
        _label(left, "Speed", "images per second")
        _label(right, "Efficiency", "images/s per device, relative to the fewest")
    for axes in (left, right):
        axes.legend(fontsize=TEXT - 1, labelcolor=INK, frameon=False)
    how = {"data": "data parallel", "fsdp": "fully sharded"}[study.arguments.parallel]
    words = f"{study.preset}, {how}"
    if study.arguments.compile_only:
        peak, link = study.arguments.peak_flops, study.arguments.link_bandwidth
        words += f", predicted for {peak:g} FLOP/s and {link:g} B/s per device"
    elif simulated:
        words += f" ({_SIMULATED})"
    figure.suptitle(words, size=TITLE, color=INK, x=0.01, ha="left")
    return figure


def _speed(axes: Axes, mode: str, rows: Sequence[Measured]) -> None:
    counts = [row.point.devices for row in rows]
    speeds = [row.images_per_second for row in rows]
    color = _COLORS[mode]
    axes.plot(counts, speeds, "o-", color=color, markersize=4, label=_WORDS[mode])
    ideal = [speeds[0] * count / counts[0] for count in counts]
    axes.plot(counts, ideal, "--", color=color, linewidth=1.0, label="ideal")


def _times(axes: Axes, mode: str, rows: Sequence[Predicted]) -> None:
    counts = [row.point.devices for row in rows]
    compute = [row.compute_seconds for row in rows]
    moving = [(n, r.communicate_seconds) for n, r in zip(counts, rows, strict=True)]
    moving = [(n, seconds) for n, seconds in moving if seconds > 0]
    color = _COLORS[mode]
    axes.plot(
        counts, compute, "o-", color=color, markersize=4, label=f"{mode}: compute"
    )
    if moving:
        words = f"{mode}: communicate"
        axes.plot(
            *zip(*moving, strict=True), "s:", color=color, markersize=4, label=words
        )


def _efficiency(axes: Axes, mode: str, rows: Sequence[Row]) -> None:
    counts = [row.point.devices for row in rows]
    values = [row.efficiency for row in rows]
    color = _COLORS[mode]
    if not isinstance(rows[0], Predicted):
        axes.plot(counts, values, "o-", color=color, markersize=4, label=mode)
        return
    overlapped = [r.overlapped_efficiency for r in rows if isinstance(r, Predicted)]
    label = f"{mode}: without overlap"
    axes.plot(counts, values, "o-", color=color, markersize=4, label=label)
    label = f"{mode}: full overlap"
    axes.plot(counts, overlapped, "s:", color=color, markersize=4, label=label)


def _log_axis(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten, with the prefixes of units."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter())


def _devices_axis(axes: Axes, rows: Sequence[Row]) -> None:
    style_axes(axes)
    counts = sorted({row.point.devices for row in rows})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("devices", size=TEXT, color=INK)


def _label(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, size=TITLE, color=INK, loc="left")
    axes.set_ylabel(unit, size=TEXT, color=INK)
