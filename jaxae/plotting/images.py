"""Images beside each other: inputs, reconstructions, samples, walks, restorations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from jaxae.checks import as_range
from jaxae.errors import require
from jaxae.inference.walks import PRIOR_LIMITS
from jaxae.plotting.mosaic import MARGIN, assemble, canvas, pixels
from jaxae.plotting.style import DPI, INK, PAD, TEXT, TITLE

_TILE, _LARGEST_TILE, _GAP = 112, 256, 8  # pixels
_LINE = 34  # pixels from one line of text to the next
_HOLE = np.array([0.93, 0.45, 0.09], np.float32)

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

_NOTHING: Mapping[str, Any] = {}


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
    x = pixels(images, "images")
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
    x = _rows(images, "steps")
    fractions = np.linspace(0.0, 1.0, x.shape[1])
    labels = ["start", *(f"{f:.0%}" for f in fractions[1:-1]), "end"]
    return _tiles(x, column_labels=labels[: x.shape[1]], title=title)


def traversal(
    images: Any,
    *,
    dims: Sequence[int] | None = None,
    limits: tuple[float, float] = PRIOR_LIMITS,
    title: str = "",
) -> Figure:
    """What each dimension of a code stands for: a row for each, its values above.

    Args:
        images: [d, steps, h, w, c], of one example as `jaxae.traverse` returns them.
        dims: The dimensions of the code, counted from 0, as `traverse` was asked for;
            None for all from the first on, which is called z₁.
        limits: As `traverse` was asked for.
        title: Printed above.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=3)
        >>> model = jaxae.init(recipe, jax.random.key(0))
        >>> x = np.random.default_rng(0).random((1, 4, 4, 1), np.float32)
        >>> walks = jaxae.traverse(model, x, dims=(0, 2), limits=(-2.0, 2.0))
        >>> figure = jaxae.plotting.traversal(
        ...     walks[0], dims=(0, 2), limits=(-2.0, 2.0)
        ... )
    """
    images = np.asarray(images)
    one = "of one example, [d, steps, h, w, c], as jaxae.traverse(...)[0] is"
    require(images.ndim == 5, "images", images.shape, one)
    count, steps = images.shape[:2]
    chosen = range(count) if dims is None else dims
    require(len(chosen) == count, "dims", dims, f"{count} dimensions, one for each row")
    values = np.linspace(*as_range("limits", limits), steps)
    return _tiles(
        _rows(images, "steps"),
        row_labels=[dimension_name(dim) for dim in chosen],
        column_labels=_numbers(values),
        title=title,
    )


def dimension_name(dim: int) -> str:
    """What a dimension of a code, counted from 0, is called: z₁ is the first."""
    return f"z{dim + 1}".translate(_SUBSCRIPTS)


def image_rows(
    images: Any, *, row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()
) -> Figure:
    """Rows of images with labels at the left and above.

    Args:
        images: [rows, columns, h, w, c].
        row_labels: One for every row, or none.
        column_labels: One for every column, or none.
    """
    x = _rows(images, "columns")
    named = {"row_labels": row_labels, "column_labels": column_labels}
    for (name, labels), count in zip(named.items(), x.shape, strict=False):
        right = len(labels) in (0, count)
        require(right, name, len(labels), f"{count} labels or none")
    return _tiles(x, row_labels=row_labels, column_labels=column_labels)


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


def _rows(images: Any, along: str) -> Float[np.ndarray, "rows columns h w 3"]:
    images = np.asarray(images)
    shape = f"of shape [rows, {along}, h, w, c]"
    require(images.ndim == 5, "images", images.shape, shape)
    x = pixels(images.reshape(-1, *images.shape[2:]), "images")
    return x.reshape(*images.shape[:2], *x.shape[1:])


def _same_shape(images: Mapping[str, Any]) -> Float[np.ndarray, "rows n h w 3"]:
    shapes = {name: np.shape(x) for name, x in images.items()}
    require(len(set(shapes.values())) == 1, ", ".join(images), shapes, "of one shape")
    return np.stack([pixels(x, name) for name, x in images.items()])


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
    scale = max(1, round(_TILE / max(h, w)))
    shrink = min(1.0, _LARGEST_TILE / max(h, w))
    mosaic = assemble(x, scale, _GAP)
    left = MARGIN + max(
        (_width(t, TEXT) + 10 for t in (*row_labels, *table)), default=0
    )
    right = max(MARGIN, _width(title, TITLE) + MARGIN - shrink * mosaic.shape[1])
    figure, axes = canvas(
        mosaic,
        left,
        right,
        bottom=MARGIN + _LINE * len(table),
        top=MARGIN + _LINE * bool(column_labels) + 1.3 * _LINE * bool(title),
        shrink=shrink,
    )
    axes.imshow(mosaic, aspect="auto")
    across, down = _centres(columns, w * scale), _centres(rows, h * scale)
    axes.set_yticks(down if row_labels else [], row_labels)
    axes.set_xticks(across if column_labels else [], column_labels)
    axes.xaxis.tick_top()
    axes.set_title(title, size=TITLE, color=INK, loc="left", pad=5)
    for line, (name, values) in enumerate(table.items(), start=1):
        y = mosaic.shape[0] + (line - 0.35) * _LINE / shrink
        _write(axes, -PAD * DPI / 72 / shrink, y, name, ha="right")
        for position, text in zip(across, _numbers(values), strict=True):
            _write(axes, position, y, text, ha="center")
    return figure


def _centres(count: int, side: int) -> Float[np.ndarray, " count"]:
    """Where the middles of the tiles lie along an axis, in pixels of the mosaic."""
    return np.arange(count) * (side + _GAP) + (side - 1) / 2


def _write(axes: Axes, x: float, y: float, text: str, ha: str) -> None:
    axes.text(x, y, text, ha=ha, va="center", size=TEXT, color=INK)


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
