"""Damage for denoising and inpainting: pure functions (key, x) -> (damaged x, mask).

`x` is a batch [b, ...] with values in [0, 1]. The mask is True where a value was
removed (holes, dropped pixels), has the shape [b, h, w, 1] or that of `x`, and is None
for damage that leaves no pixel out, such as noise.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxae.checks import check_count
from jaxae.errors import require
from jaxae.types import Corruption


def identity(key: jax.Array, x: Array) -> tuple[Array, None]:
    """No damage."""
    del key
    return x, None


def gaussian_noise(std: float, *, clip: bool = False) -> Corruption:
    """x + std · ε with ε ~ N(0, I), clipped to [0, 1] if `clip`.

    Raises:
        ValueError: `std` is negative.
    """
    require(std >= 0, "std", std, "a number of at least 0")

    def corrupt(key: jax.Array, x: Array) -> tuple[Array, None]:
        noisy = x + std * jax.random.normal(key, x.shape, x.dtype)
        return (jnp.clip(noisy, 0.0, 1.0) if clip else noisy), None

    return corrupt


def masking(rate: float, *, fill: float = 0.0) -> Corruption:
    """Every pixel, with all its channels, becomes `fill` with probability `rate`.

    Also called pixel dropout, or masking noise (Vincent et al. 2010, section 3.3).

    Raises:
        ValueError: `rate` is outside [0, 1].
    """
    require((rate >= 0) & (rate <= 1), "rate", rate, "a probability in [0, 1]")

    def corrupt(key: jax.Array, x: Array) -> tuple[Array, Array]:
        mask = jax.random.bernoulli(key, rate, _pixel_shape(x))
        return fill_in(x, mask, fill), mask

    return corrupt


def salt_and_pepper(rate: float) -> Corruption:
    """Every value becomes 0 or 1, by a fair coin, with probability `rate`.

    Raises:
        ValueError: `rate` is outside [0, 1].
    """
    require((rate >= 0) & (rate <= 1), "rate", rate, "a probability in [0, 1]")

    def corrupt(key: jax.Array, x: Array) -> tuple[Array, None]:
        u = jax.random.uniform(key, x.shape)
        salt, hit = (u < rate / 2).astype(x.dtype), u < rate
        return jnp.where(hit, salt, x), None

    return corrupt


def holes(
    height: int,
    width: int | None = None,
    *,
    count: int = 1,
    at: tuple[int, int] | None = None,
    fill: float = 0.0,
) -> Corruption:
    """Cuts `count` boxes of `height` × `width` pixels out of every image.

    The boxes lie wholly inside the image, each uniformly at random, or all at the fixed
    top-left corner `at` = (row, column). They may overlap.

    Raises:
        ValueError: A size is below 1, `at` is negative, or a box does not fit in the
            images (said when the corruption is first applied).
    """
    width = height if width is None else width
    for name, value in {"height": height, "width": width, "count": count}.items():
        check_count(name, value)
    require(at is None or min(at) >= 0, "at", at, "a row and a column of at least 0")
    require(at is None or count == 1, "count", count, "1 for a box at a fixed place")

    def corrupt(key: jax.Array, x: Array) -> tuple[Array, Array]:
        _check_fit(x, height, width, at)
        rows, columns = x.shape[1:3]
        shape = (x.shape[0], count, 2)
        if at is None:
            limit = jnp.array([[[rows - height + 1, columns - width + 1]]])
            corners = jax.random.randint(key, shape, 0, limit)
        else:
            corners = jnp.broadcast_to(jnp.array([[at]]), shape)
        mask = box_mask(corners, (height, width), (rows, columns))
        return fill_in(x, mask, fill), mask

    return corrupt


def compose(*corruptions: Corruption) -> Corruption:
    """Applies the corruptions in order; what any of them removed is masked.

    Raises:
        ValueError: No corruption was given.
    """
    require(len(corruptions) > 0, "corruptions", corruptions, "at least one")

    def corrupt(key: jax.Array, x: Array) -> tuple[Array, Array | None]:
        masks: list[Array] = []
        for i, corruption in enumerate(corruptions):
            x, mask = corruption(jax.random.fold_in(key, i), x)
            masks += [] if mask is None else [mask]
        return x, _union(masks)

    return corrupt


def fill_in(
    x: Float[Array, "b ..."], mask: Array, fill: float
) -> Float[Array, "b ..."]:
    """`x` with `fill` where `mask` is True."""
    return jnp.where(mask, jnp.asarray(fill, x.dtype), x)


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


def _pixel_shape(x: Array) -> tuple[int, ...]:
    """One value per pixel of an image batch, one per entry of a batch of vectors."""
    return (*x.shape[:-1], 1) if x.ndim == 4 else x.shape


def _union(masks: Sequence[Array]) -> Array | None:
    if not masks:
        return None
    union = masks[0]
    for mask in masks[1:]:
        union = union | mask
    return union


def _check_fit(x: Array, height: int, width: int, at: tuple[int, int] | None) -> None:
    require(x.ndim == 4, "x", x.shape, "images [b, h, w, c] to cut holes in")
    row, column = at or (0, 0)
    require(
        row + height <= x.shape[1] and column + width <= x.shape[2],
        "height, width, at",
        (height, width, at),
        f"a box inside images of {x.shape[1]}x{x.shape[2]} pixels",
    )
