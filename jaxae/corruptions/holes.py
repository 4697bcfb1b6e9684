"""Damage by boxes that are cut out of images."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxae.checks import as_finite, check_count, settle
from jaxae.corruptions.base import Corruption, fill_in
from jaxae.errors import ensure, require


class Holes(Corruption):
    """Cuts `count` boxes of `height` × `width` pixels out of every image.

    The boxes lie wholly inside the image, each uniformly at random, or all at a fixed
    place. They may overlap.

    Attributes:
        height: Of a box, in pixels.
        width: Of a box; as the height if None.
        count: Boxes per image.
        at: The top-left corner (row, column) of a single box; random if None.
        fill: What the removed pixels become.

    Raises:
        ValueError: A size is below 1, `at` is negative, or a box does not fit in the
            images (said when the corruption is first applied).

    Example:
        >>> import jax, jaxae
        >>> damaged, mask = jaxae.corruptions.Holes(4)(
        ...     jax.random.key(0), jax.numpy.ones((2, 8, 8, 1))
        ... )
        >>> mask.shape, int(mask.sum())
        ((2, 8, 8, 1), 32)
    """

    height: int
    width: int | None = None
    count: int = 1
    at: tuple[int, int] | None = None
    fill: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("height", self.height)
        check_count("count", self.count)
        if self.width is not None:
            check_count("width", self.width)
        settle(self, as_finite, "fill")
        if self.at is not None:
            _check_corner(self.at)
            require(
                self.count == 1, "count", self.count, "1 for a box at a fixed place"
            )

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, Array]:
        """Damages images [b, h, w, c]; the mask is [b, h, w, 1]."""
        box = height, width = self.height, self.width or self.height
        self._check_fit(x, box)
        rows, columns = x.shape[1:3]
        shape = (x.shape[0], self.count, 2)
        if self.at is None:
            limit = jnp.array([[[rows - height + 1, columns - width + 1]]])
            corners = jax.random.randint(key, shape, 0, limit)
        else:
            corners = jnp.broadcast_to(jnp.array([[self.at]]), shape)
        mask = box_mask(corners, box, (rows, columns))
        return fill_in(x, mask, self.fill), mask

    def _check_fit(self, x: Array, box: tuple[int, int]) -> None:
        require(x.ndim == 4, "x", x.shape, "images [b, h, w, c] to cut holes in")
        row, column = self.at or (0, 0)
        fits = row + box[0] <= x.shape[1] and column + box[1] <= x.shape[2]
        place = "" if self.at is None else f" at {self.at}"
        ensure(
            fits,
            "height and width must be those of a box inside images of "
            f"{x.shape[1]}x{x.shape[2]} pixels, got {box[0]}x{box[1]}{place}",
        )


def _check_corner(at: Any) -> None:
    two = isinstance(at, tuple) and len(at) == 2
    whole = two and all(isinstance(i, int | np.integer) and i >= 0 for i in at)
    require(whole, "at", at, "a row and a column of at least 0")


def box_mask(
    corners: Array, size: tuple[int, int], shape: tuple[int, int]
) -> Bool[Array, "b h w 1"]:
    """True inside any of the boxes at `corners` [b, count, 2] (row, column)."""

    def inside(length: int, start: Array, extent: int) -> Array:
        offset = jnp.arange(length)[None, None] - start[..., None]
        return (offset >= 0) & (offset < extent)

    rows = inside(shape[0], corners[..., 0], size[0])
    columns = inside(shape[1], corners[..., 1], size[1])
    boxes = rows[:, :, :, None] & columns[:, :, None, :]
    return boxes.any(axis=1)[..., None]
