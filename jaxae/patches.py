"""Damage by whole patches, as for masked auto-encoders."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae.checks import check_count
from jaxae.corruptions import fill_in
from jaxae.errors import require
from jaxae.types import Corruption


def patches(size: int, rate: float = 0.75, *, fill: float = 0.0) -> Corruption:
    """Removes exactly round(rate · count) of an image's `count` square patches.

    Which ones is uniformly random and another choice for every image (He et al. 2022,
    section 3). The patches form a grid; the mask is [b, h, w, 1].

    Args:
        size: Side of a patch in pixels.
        rate: Share of the patches that are removed.
        fill: What the removed pixels become.

    Raises:
        ValueError: `size` is below 1, `rate` is outside [0, 1], or the sides of the
            images are no multiples of `size` (said when the corruption is first
            applied).
    """
    check_count("size", size)
    require(0 <= rate <= 1, "rate", rate, "a share in [0, 1]")

    def corrupt(key: jax.Array, x: Array) -> tuple[Array, Array]:
        check_grid("x", x.shape[1:], size)
        rows, columns = x.shape[1] // size, x.shape[2] // size
        count = rows * columns
        removed = jnp.arange(count) < round(rate * count)
        removed = jnp.broadcast_to(removed[None], (x.shape[0], count))
        chosen = jax.random.permutation(key, removed, axis=1, independent=True)
        grid = chosen.reshape(x.shape[0], rows, columns, 1)
        mask = grid.repeat(size, axis=1).repeat(size, axis=2)
        return fill_in(x, mask, fill), mask

    return corrupt


def check_grid(name: str, shape: tuple[int, ...], size: int) -> None:
    """Raises ValueError unless images of `shape` divide into patches of `size`."""
    fits = len(shape) == 3 and shape[0] % size == 0 and shape[1] % size == 0
    expected = f"images whose sides are multiples of the patch size {size}"
    require(fits, name, shape, expected)
