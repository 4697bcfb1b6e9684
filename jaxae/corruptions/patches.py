"""Damage by whole patches, as for masked auto-encoders."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae.checks import as_finite, check_count, settle
from jaxae.corruptions.base import Corruption, fill_in
from jaxae.errors import require


class Patches(Corruption):
    """Removes exactly round(rate · count) of an image's `count` square patches.

    Which ones is uniformly random and another choice for every image (He et al. 2022,
    section 3, https://arxiv.org/abs/2111.06377). The patches form a grid.

    Attributes:
        size: Side of a patch in pixels.
        rate: Share of the patches that are removed.
        fill: What the removed pixels become.

    Raises:
        ValueError: `size` is below 1, `rate` is outside [0, 1], or the sides of the
            images are no multiples of `size` (said when the corruption is first
            applied).
    """

    size: int
    rate: float = 0.75
    fill: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("size", self.size)
        settle(self, as_finite, "rate", "fill")
        require(0 <= self.rate <= 1, "rate", self.rate, "a share in [0, 1]")

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, Array]:
        """Damages images [b, h, w, c]; the mask is [b, h, w, 1]."""
        check_grid("x", x.shape[1:], self.size)
        rows, columns = x.shape[1] // self.size, x.shape[2] // self.size
        count = rows * columns
        removed = jnp.arange(count) < round(self.rate * count)
        removed = jnp.broadcast_to(removed[None], (x.shape[0], count))
        chosen = jax.random.permutation(key, removed, axis=1, independent=True)
        grid = chosen.reshape(x.shape[0], rows, columns, 1)
        mask = grid.repeat(self.size, axis=1).repeat(self.size, axis=2)
        return fill_in(x, mask, self.fill), mask


def check_grid(name: str, shape: tuple[int, ...], size: int) -> None:
    """Raises ValueError unless images of `shape` divide into patches of `size`."""
    fits = len(shape) == 3 and shape[0] % size == 0 and shape[1] % size == 0
    expected = f"images whose sides are multiples of the patch size {size}"
    require(fits, name, shape, expected)
