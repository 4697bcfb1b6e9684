"""The latent space: where the codes lie, and what they stand for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxae.errors import ensure, require
from jaxae.plotting.mosaic import MARGIN, assemble, canvas, pixels
from jaxae.plotting.style import (
    FAINT,
    INK,
    TEXT,
    add_legend,
    label_axes,
    new_figure,
    style_axes,
)

MAX_CLASSES = 20
"""More distinct labels than this get a colour bar instead of a legend."""


def code_scatter(codes: Any, labels: Any = None) -> Figure:
    """Codes in the plane, coloured by label.

    Codes of two numbers are shown as they are, longer ones by their first two principal
    components, codes of one number as a histogram.

    Args:
        codes: [n, ...]; whatever follows n is flattened.
        labels: [n], or None. Up to `MAX_CLASSES` different ones are named in a legend;
            more have to be numbers, which a colour bar shows.
    """
    codes = np.asarray(codes)
    require(codes.ndim >= 2 and len(codes), "codes", codes.shape, "of shape [n, d]")
    codes = codes.reshape(len(codes), -1).astype(np.float64)
    groups = _group(labels, len(codes))
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    style_axes(axes)
    if codes.shape[1] == 1:
        _histogram(axes, codes[:, 0], groups)
    else:
        _scatter(figure, axes, *_plane(codes), groups)
    if groups.names:
        _legend(axes, groups)
    return figure


def code_usage(counts: Any) -> Figure:
    """How often the codes of one or several codebooks occur, the most frequent first.

    Args:
        counts: [books, codes], or [codes].

    Raises:
        ValueError: There are no counts, or all are zero.
    """
    counts = np.atleast_2d(np.asarray(counts, float))
    right = counts.ndim == 2 and counts.size and (counts.sum(axis=1) > 0).all()
    require(right, "counts", counts.shape, "[books, codes], not all of them zero")
    shares = -np.sort(-counts / counts.sum(axis=1, keepdims=True), axis=1)
    books, size = shares.shape
    figure = new_figure(6.4, 3.3)
    axes = figure.subplots()
    style_axes(axes)
    for i, share in enumerate(shares):
        used = f"{np.count_nonzero(share):,} of {size:,} codes used"
        name = used if books == 1 else f"codebook {i + 1}: {used}"
        used_alone = share[share > 0]
        color = colormaps["tab10"](i % 10)
        axes.stairs(used_alone, label=name, color=color, baseline=None, linewidth=1.5)
    axes.axhline(1 / size, color=FAINT, linewidth=1.0, linestyle="--")
    axes.set_xlim(0, size)
    axes.set_yscale("log")  # a few codes, of empty ground say, are most of all
    label_axes(axes, "code, by rank", "share of all codes")
    add_legend(axes)
    return figure


def latent_plane(
    decode: Callable[[np.ndarray], Any],
    codes: Float[np.ndarray, "n 2"],
    steps: int = 20,
) -> Figure:
    """The images that a grid of two-dimensional codes stands for.

    Args:
        decode: Codes [m, 2] -> images [m, h, w, c].
        codes: Of examples, or of the prior: the grid is over the range of 98 % of them
            along each axis.
        steps: Codes along each axis.
    """
    limits = np.quantile(codes, (0.01, 0.99), axis=0).T
    first, second = (
        np.linspace(low, high, steps, dtype=np.float32) for low, high in limits
    )
    codes = np.stack(np.meshgrid(first, second[::-1]), axis=-1).reshape(-1, 2)
    x = pixels(decode(codes), "decode's images")
    mosaic = assemble(x.reshape(steps, steps, *x.shape[1:]), scale=2, gap=0)
    figure, axes = canvas(mosaic, left=110, right=MARGIN, bottom=96, top=MARGIN)
    # Every image is centred at its code.
    (a, b), (c, d) = (
        (g[0] - (g[1] - g[0]) / 2, g[-1] + (g[1] - g[0]) / 2) for g in (first, second)
    )
    axes.imshow(mosaic, extent=(a, b, c, d), aspect="auto")
    label_axes(axes, "z₁", "z₂")
    return figure


def principal_components(
    codes: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " 2"]]:
    """The first two principal components and the fractions of variance they explain.

    Their signs are such that the entry of largest magnitude is positive.
    """
    centred = codes - codes.mean(axis=0)
    # The two Gram matrices have the same non-zero eigenvalues; the smaller is cheaper.
    wide = codes.shape[1] > codes.shape[0]
    gram = centred @ centred.T if wide else centred.T @ centred
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[:-3:-1].clip(0), vectors[:, :-3:-1]
    scores = vectors * np.sqrt(values) if wide else centred @ vectors
    largest = scores[np.abs(scores).argmax(axis=0), range(scores.shape[1])]
    total = max(float(np.trace(gram)), np.finfo(np.float64).tiny)
    return scores * np.where(largest < 0, -1.0, 1.0), values / total


class _Groups(NamedTuple):
    """Points by label: `index` [n] into `names` and `colors`, or `values` [n]."""

    index: np.ndarray
    names: list[str]
    colors: np.ndarray
    values: np.ndarray | None = None


def _group(labels: Any, count: int) -> _Groups:
    one = _Groups(np.zeros(count, int), [], np.array([colormaps["tab10"](0)]))
    if labels is None:
        return one
    labels = np.asarray(labels)
    require(labels.shape == (count,), "labels", labels.shape, f"[{count}]")
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) > MAX_CLASSES:
        numbers = np.issubdtype(labels.dtype, np.number)
        ensure(
            numbers,
            f"labels must be numbers, or at most {MAX_CLASSES} different ones, "
            f"got {len(classes)} of {labels.dtype}",
        )
        return one._replace(values=labels.astype(np.float64))
    palette = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    return _Groups(index, [str(c) for c in classes], palette(range(len(classes))))


def _plane(codes: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """The points to draw and the names of the axes."""
    if codes.shape[1] == 2:
        return codes, ("z₁", "z₂")
    points, fractions = principal_components(codes)
    if points.shape[1] == 1:  # a single code: nothing varies
        points, fractions = np.zeros((1, 2)), np.zeros(2)
    one, two = (
        f"principal component {i} ({fraction:.1%} of the variance)".replace("%", " %")
        for i, fraction in enumerate(fractions, start=1)
    )
    return points, (one, two)


def _scatter(
    figure: Figure,
    axes: Axes,
    points: np.ndarray,
    names: tuple[str, str],
    groups: _Groups,
) -> None:
    numeric = groups.values is not None
    drawn = axes.scatter(
        *points.T,
        c=groups.values if numeric else groups.colors[groups.index],
        cmap="viridis" if numeric else None,
        s=float(np.clip(30_000 / len(points), 3.0, 24.0)),
        alpha=0.65,
        linewidths=0,
    )
    if numeric:
        bar = figure.colorbar(drawn, ax=axes, label="label")
        bar.solids.set_alpha(1.0)  # pyright: ignore[reportOptionalMemberAccess]
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=TEXT, color=FAINT, labelcolor=INK)
        bar.ax.yaxis.label.set(size=TEXT, color=INK)
    # A unit is as long in both directions: distances can be compared.
    axes.set_aspect("equal", adjustable="datalim")
    label_axes(axes, *names)


def _histogram(axes: Axes, codes: np.ndarray, groups: _Groups) -> None:
    bins = np.histogram_bin_edges(codes, bins=40).tolist()
    for i, color in enumerate(groups.colors):
        own = codes[groups.index == i]
        axes.hist(own, bins, histtype="stepfilled", color=color, alpha=0.2)
        axes.hist(own, bins, histtype="step", color=color, linewidth=1.2)
    label_axes(axes, "z₁", "examples")


def _legend(axes: Axes, groups: _Groups) -> None:
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=color, label=name)
        for name, color in zip(groups.names, groups.colors, strict=True)
    ]
    legend = axes.legend(
        handles=handles,
        title="label",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=TEXT,
        labelcolor=INK,
        handletextpad=0.2,
    )
    legend.get_title().set(size=TEXT, color=INK)
