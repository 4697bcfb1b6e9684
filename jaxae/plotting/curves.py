"""How training went."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxae.errors import require
from jaxae.plotting.style import (
    BLUE,
    ORANGE,
    add_legend,
    label_axes,
    new_figure,
    style_axes,
)

_NAMES = {
    "distortion_nats": "distortion, $-\\log\\,p(x\\,|\\,z)$",
    "rate_nats": "rate, KL$(q(z\\,|\\,x)\\,||\\,p(z))$",
    "penalty_nats": "penalty on the code",
}


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """The loss against the epoch, and the terms that it is made of.

    Terms that are zero throughout, or the loss itself, get no panel of their own.

    Args:
        history: Rows as in `Fit.history`, in nats per example.

    Raises:
        ValueError: The history is empty.
    """
    require(len(history) > 0, "history", history, "at least one row")
    loss = _column(history, "loss")
    names = ["loss", *filter(lambda name: _tells_more(history, name, loss), _NAMES)]
    figure = new_figure(6.4, 3.3 if len(names) == 1 else 5.8)
    # The loss across the figure, its terms side by side below.
    _, *terms = names
    rows: list[Any] = [["loss"] * len(terms), terms] if terms else [["loss"]]
    for name, axes in figure.subplot_mosaic(rows).items():
        _curve_panel(axes, history, name)
    return figure


def _column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Values per row; NaN, which is not drawn, where a row has none."""
    return np.array([row.get(name) for row in history], float)


def _tells_more(
    history: Sequence[Mapping[str, Any]], name: str, loss: np.ndarray
) -> bool:
    values = _column(history, name)
    known = np.isfinite(values)
    return bool((values[known] != 0).any()) and not np.allclose(
        values[known], loss[known], rtol=1e-5
    )


def _curve_panel(axes: Axes, history: Sequence[Mapping[str, Any]], name: str) -> None:
    style_axes(axes)
    default = np.arange(1, len(history) + 1)
    epochs = [row.get("epoch", n) for row, n in zip(history, default, strict=True)]
    # Single points have no line to be seen by.
    marker = "o" if len(epochs) <= 30 else ""
    for prefix, label, color in (
        ("", "training", BLUE),
        ("validation_", "validation", ORANGE),
    ):
        values = _column(history, prefix + name)
        if np.isfinite(values).any():
            axes.plot(
                epochs,
                values,
                marker=marker,
                markersize=3.5,
                linewidth=1.5,
                color=color,
                label=label,
            )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axes.set_xticks(epochs)
    label_axes(axes, "epoch", "nats per example", _NAMES.get(name, name))
    add_legend(axes)
