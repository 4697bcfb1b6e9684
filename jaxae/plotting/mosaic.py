"""Images as sharp squares: all of them one picture, each pixel where it belongs."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxae.errors import require
from jaxae.plotting.style import DPI, INK, PAD, TEXT

MARGIN = 24  # pixels


def pixels(images: Any, name: str) -> Float[np.ndarray, "n h w 3"]:
    """Red, green and blue in [0, 1]."""
    x = np.asarray(images)
    require(x.ndim == 4 and x.size, name, x.shape, "images of shape [n, h, w, c]")
    x = x.astype(np.float32) / (255 if x.dtype == np.uint8 else 1)
    if x.shape[-1] != 3:
        x = x.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.nan_to_num(x).clip(0.0, 1.0)


def assemble(
    x: Float[np.ndarray, "rows columns h w 3"], scale: int, gap: int
) -> UInt8[np.ndarray, "height width 3"]:
    """One picture of all images, each pixel a square of side `scale`, gaps white."""
    x = (255 * x).round().astype(np.uint8)  # matplotlib would round down
    x = x.repeat(scale, axis=2).repeat(scale, axis=3)
    x = np.pad(x, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows, columns, h, w, _ = x.shape
    whole = x.transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    return whole[: rows * h - gap, : columns * w - gap]


def canvas(
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
    axes.tick_params(length=0, pad=PAD, labelsize=TEXT, labelcolor=INK)
    axes.spines[:].set_visible(False)
    return figure, axes
