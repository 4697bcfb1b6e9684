"""Pictures of training and of what a model does, as matplotlib figures.

No function shows or keeps a figure: save it with `figure.savefig("codes.png")`; a
notebook displays it after `%matplotlib inline`. Images are [n, h, w, c], bytes or
floats whose range [0, 1] goes from black to white; what lies outside is clipped. One
channel is shown as grey, three as red, green and blue, any other number by its mean.
Small images are enlarged by a whole factor, so that every pixel is a sharp square.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from jaxae.errors import require

DPI = 200
"""Pixels per inch: twice a common screen's, so that half size is exact as well."""

MAX_CLASSES = 20
"""More distinct labels than this get a colour bar instead of a legend."""

_TILE, _LARGEST_TILE, _GAP, _MARGIN = 112, 256, 8, 24  # pixels
_LINE = 34  # pixels from one line of text to the next
_TEXT, _TITLE, _PAD = 8.0, 9.5, 3.0  # points
_INK, _FAINT, _GRID = "#22262b", "#6b7280", "#e5e7eb"
_BLUE, _ORANGE = "#2563eb", "#ea7317"
_HOLE = np.array([0.93, 0.45, 0.09], np.float32)

_NOTHING: Mapping[str, Any] = {}

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
    figure = _figure(6.4, 3.3 if len(names) == 1 else 5.8)
    # The loss across the figure, its terms side by side below.
    _, *terms = names
    rows: list[Any] = [["loss"] * len(terms), terms] if terms else [["loss"]]
    for name, axes in figure.subplot_mosaic(rows).items():
        _curve_panel(axes, history, name)
    return figure


def image_pairs(inputs: Any, reconstructions: Any) -> Figure:
    """Every input above its reconstruction.

    Args:
        inputs: [n, h, w, c].
        reconstructions: Likewise.
    """
    rows = _same_shape({"inputs": inputs, "reconstructions": reconstructions})
    return _tiles(rows, row_labels=("input", "reconstruction"))


def image_grid(images: Any, columns: int = 10, title: str = "") -> Figure:
    """Images row by row, such as samples from the prior.

    Args:
        images: [n, h, w, c].
        columns: Images per row.
        title: Printed above.
    """
    x = _pixels(images, "images")
    require(columns >= 1, "columns", columns, "at least 1")
    columns = min(columns, len(x))
    rows = -(-len(x) // columns)
    blank = np.ones((rows * columns - len(x), *x.shape[1:]), x.dtype)
    x = np.concatenate([x, blank]).reshape(rows, columns, *x.shape[1:])
    return _tiles(x, title=title)


def walk(images: Any, title: str = "") -> Figure:
    """Walks through the latent space, one a row, from left to right.

    Args:
        images: [rows, steps, h, w, c], as `jaxae.interpolate` returns them.
        title: Printed above.
    """
    images = np.asarray(images)
    require(images.ndim == 5, "images", images.shape, "of shape [rows, steps, h, w, c]")
    x = _pixels(images.reshape(-1, *images.shape[2:]), "images")
    fractions = np.linspace(0.0, 1.0, images.shape[1])
    labels = ["start", *(f"{f:.0%}" for f in fractions[1:-1]), "end"]
    return _tiles(
        x.reshape(*images.shape[:2], *x.shape[1:]),
        column_labels=labels[: images.shape[1]],
        title=title,
    )


def restoration_grid(
    damaged: Any,
    restored: Any,
    original: Any,
    scores: Mapping[str, Any] | None = None,
    *,
    mask: Any = None,
) -> Figure:
    """Damaged, restored and original images in three rows, with numbers below.

    Args:
        damaged: [n, h, w, c].
        restored: Likewise.
        original: Likewise.
        scores: Lines of numbers [n] by their name, which should say the unit.
        mask: [n, h, w, 1] or of the images' shape, True where pixels were removed:
            those are painted orange in the damaged row.
    """
    images = {"damaged": damaged, "restored": restored, "original": original}
    rows = _same_shape(images)
    if mask is not None:
        removed = np.broadcast_to(np.asarray(mask), np.shape(damaged))
        rows[0] = np.where(removed.any(axis=-1, keepdims=True), _HOLE, rows[0])
    count = rows.shape[1]
    for name, values in (scores or {}).items():
        require(
            len(values) == count, f"scores[{name!r}]", len(values), f"{count} numbers"
        )
    return _tiles(rows, row_labels=tuple(images), table=scores or _NOTHING)


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
    figure = _figure(6.4, 4.6)
    axes = figure.subplots()
    _style(axes)
    if codes.shape[1] == 1:
        _histogram(axes, codes[:, 0], groups)
    else:
        _scatter(figure, axes, *_plane(codes), groups)
    if groups.names:
        _legend(axes, groups)
    return figure


def latent_plane(
    decode: Callable[[np.ndarray], Any],
    limits: tuple[tuple[float, float], tuple[float, float]] = ((-3, 3), (-3, 3)),
    steps: int = 20,
) -> Figure:
    """The images that a grid of two-dimensional codes stands for.

    Args:
        decode: Codes [m, 2] -> images [m, h, w, c].
        limits: (lowest, highest) of z₁ and of z₂.
        steps: Codes along each axis.
    """
    first, second = (np.linspace(*limit, steps, dtype=np.float32) for limit in limits)
    codes = np.stack(np.meshgrid(first, second[::-1]), axis=-1).reshape(-1, 2)
    x = _pixels(decode(codes), "decode's images")
    mosaic = _mosaic(x.reshape(steps, steps, *x.shape[1:]), scale=2, gap=0)
    figure, axes = _canvas(mosaic, left=110, right=_MARGIN, bottom=96, top=_MARGIN)
    # Every image is centred at its code.
    (a, b), (c, d) = (
        (g[0] - (g[1] - g[0]) / 2, g[-1] + (g[1] - g[0]) / 2) for g in (first, second)
    )
    axes.imshow(mosaic, extent=(a, b, c, d), aspect="auto")
    axes.set_xlabel("z₁", size=_TEXT, color=_INK)
    axes.set_ylabel("z₂", size=_TEXT, color=_INK)
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
        require(
            numbers,
            "labels",
            f"{len(classes)} different ones of {labels.dtype}",
            f"numbers, or at most {MAX_CLASSES} different ones",
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
        bar.ax.tick_params(labelsize=_TEXT, color=_FAINT, labelcolor=_INK)
        bar.ax.yaxis.label.set(size=_TEXT, color=_INK)
    # A unit is as long in both directions: distances can be compared.
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(names[0], size=_TEXT, color=_INK)
    axes.set_ylabel(names[1], size=_TEXT, color=_INK)


def _histogram(axes: Axes, codes: np.ndarray, groups: _Groups) -> None:
    bins = np.histogram_bin_edges(codes, bins=40).tolist()
    for i, color in enumerate(groups.colors):
        own = codes[groups.index == i]
        axes.hist(own, bins, histtype="stepfilled", color=color, alpha=0.2)
        axes.hist(own, bins, histtype="step", color=color, linewidth=1.2)
    axes.set_xlabel("z₁", size=_TEXT, color=_INK)
    axes.set_ylabel("examples", size=_TEXT, color=_INK)


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
        fontsize=_TEXT,
        labelcolor=_INK,
        handletextpad=0.2,
    )
    legend.get_title().set(size=_TEXT, color=_INK)


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
    _style(axes)
    default = np.arange(1, len(history) + 1)
    epochs = [row.get("epoch", n) for row, n in zip(history, default, strict=True)]
    # Single points have no line to be seen by.
    marker = "o" if len(epochs) <= 30 else ""
    for prefix, label, color in (
        ("", "training", _BLUE),
        ("validation_", "validation", _ORANGE),
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
    axes.set_title(_NAMES.get(name, name), size=_TITLE, color=_INK, loc="left")
    axes.set_xlabel("epoch", size=_TEXT, color=_INK)
    axes.set_ylabel("nats per example", size=_TEXT, color=_INK)
    axes.legend(
        fontsize=_TEXT,
        labelcolor=_INK,
        facecolor="white",
        edgecolor="white",
        framealpha=0.9,
    )


def _figure(width: float, height: float) -> Figure:
    return Figure((width, height), dpi=DPI, layout="constrained", facecolor="white")


def _style(axes: Axes) -> None:
    """Faint grid behind the data, no box, quiet ticks."""
    axes.set_facecolor("white")
    axes.set_axisbelow(True)
    axes.grid(True, color=_GRID, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(labelsize=_TEXT, color=_FAINT, labelcolor=_INK)


def _pixels(images: Any, name: str) -> Float[np.ndarray, "n h w 3"]:
    """Red, green and blue in [0, 1]."""
    x = np.asarray(images)
    require(x.ndim == 4 and x.size, name, x.shape, "images of shape [n, h, w, c]")
    x = x.astype(np.float32) / (255 if x.dtype == np.uint8 else 1)
    if x.shape[-1] != 3:
        x = x.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.nan_to_num(x).clip(0.0, 1.0)


def _same_shape(images: Mapping[str, Any]) -> Float[np.ndarray, "rows n h w 3"]:
    shapes = {name: np.shape(x) for name, x in images.items()}
    require(len(set(shapes.values())) == 1, ", ".join(images), shapes, "of one shape")
    return np.stack([_pixels(x, name) for name, x in images.items()])


def _mosaic(
    x: Float[np.ndarray, "rows columns h w 3"], scale: int, gap: int
) -> UInt8[np.ndarray, "height width 3"]:
    """One picture of all images, each pixel a square of side `scale`, gaps white."""
    x = (255 * x).round().astype(np.uint8)  # matplotlib would round down
    x = x.repeat(scale, axis=2).repeat(scale, axis=3)
    x = np.pad(x, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows, columns, h, w, _ = x.shape
    whole = x.transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    return whole[: rows * h - gap, : columns * w - gap]


def _canvas(
    mosaic: np.ndarray,
    left: float,
    right: float,
    bottom: float,
    top: float,
    shrink: float = 1.0,
) -> tuple[Figure, Axes]:
    """A figure whose axes have exactly the mosaic's pixels; margins in pixels, too."""
    h, w = (shrink * side for side in mosaic.shape[:2])
    width, height = left + w + right, bottom + h + top
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((left / width, bottom / height, w / width, h / height))
    axes.tick_params(length=0, pad=_PAD, labelsize=_TEXT, labelcolor=_INK)
    axes.spines[:].set_visible(False)
    return figure, axes


def _tiles(
    x: Float[np.ndarray, "rows columns h w 3"],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    table: Mapping[str, Any] = _NOTHING,
    title: str = "",
) -> Figure:
    """A table of images: labels at the left, numbers below, a title above."""
    rows, columns, h, w, _ = x.shape
    scale, shrink = (
        max(1, round(_TILE / max(h, w))),
        min(1.0, _LARGEST_TILE / max(h, w)),
    )
    mosaic = _mosaic(x, scale, _GAP)
    left = _MARGIN + max(
        (_width(t, _TEXT) + 10 for t in (*row_labels, *table)), default=0
    )
    right = max(_MARGIN, _width(title, _TITLE) + _MARGIN - shrink * mosaic.shape[1])
    figure, axes = _canvas(
        mosaic,
        left,
        right,
        bottom=_MARGIN + _LINE * len(table),
        top=_MARGIN + _LINE * bool(column_labels) + 1.3 * _LINE * bool(title),
        shrink=shrink,
    )
    axes.imshow(mosaic, aspect="auto")
    across = (np.arange(columns) * (w * scale + _GAP)) + (w * scale - 1) / 2
    down = (np.arange(rows) * (h * scale + _GAP)) + (h * scale - 1) / 2
    axes.set_yticks(down if row_labels else [], row_labels)
    axes.set_xticks(across if column_labels else [], column_labels)
    axes.xaxis.tick_top()
    for line, (name, values) in enumerate(table.items(), start=1):
        y = mosaic.shape[0] + (line - 0.35) * _LINE / shrink
        _write(axes, -_PAD * DPI / 72 / shrink, y, name, ha="right")
        for position, text in zip(across, _numbers(values), strict=True):
            _write(axes, position, y, text, ha="center")
    axes.set_title(title, size=_TITLE, color=_INK, loc="left", pad=5)
    return figure


def _write(axes: Axes, x: float, y: float, text: str, ha: str) -> None:
    axes.text(x, y, text, ha=ha, va="center", size=_TEXT, color=_INK)


def _numbers(values: Any) -> list[str]:
    """All to the place at which the largest has three digits."""
    numbers = np.asarray(values, float)
    largest = np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0)
    places = int(np.clip(2 - np.floor(np.log10(max(largest, 1e-6))), 0, 6))
    texts = (f"{number:.{places}f}" for number in numbers)
    return [t.replace("nan", "–").replace("inf", "∞").replace("-", "−") for t in texts]


def _width(text: str, size: float) -> float:
    """The width of a text in pixels."""
    if not text:
        return 0.0
    return TextPath((0, 0), text, size=size).get_extents().width * DPI / 72
