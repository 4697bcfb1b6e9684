"""Moving pixels and multiplying channels: what `forms.py` is made of."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxae.networks.convolution.geometry import Geometry, Pair, Phase

WIDE = 32
"""Channels from which on a tap is worth a product of its own; else several share one,
for which their operands are copied."""


def crop(x: Array, first: Pair, size: Pair) -> Array:
    """`size` pixels of x from `first` on; zeros where there is no x."""
    pads = [
        (-start, start + count - length, 0)
        for start, count, length in zip(first, size, x.shape[1:3], strict=True)
    ]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *pads, (0, 0, 0)))


def place(part: Array, at: tuple[slice, slice, slice], size: Pair) -> Array:
    """Zeros of `size`, but for `part` where the slices say: slicing transposed."""
    _, *axes = at
    pads = [
        (axis.start, length - axis.stop, (axis.step or 1) - 1)
        for axis, length in zip(axes, size, strict=True)
    ]
    return lax.pad(part, jnp.zeros((), part.dtype), ((0, 0, 0), *pads, (0, 0, 0)))


def window(x: Array, geometry: Geometry, i: int, j: int) -> Array:
    """What one tap sees of x: [b, m, n, c]."""
    s = geometry.stride
    m, n = geometry.reduced
    x = crop(x, geometry.first(i, j), (s * (m - 1) + 1, s * (n - 1) + 1))
    return x[:, ::s, ::s]


def phase_pixels(x: Array, phase: Phase, geometry: Geometry) -> Array:
    """The pixels of a phase."""
    return x[:, phase.row :: geometry.stride, phase.column :: geometry.stride]


def seen_by_phase(
    y: Array, phase: Phase, geometry: Geometry, size: Pair
) -> list[Array]:
    """What `size` pixels of a phase see of y, for each of its taps."""
    shifts = [phase.shift(geometry, i, j) for i, j in phase.taps]
    return [crop(y, (-row, -column), size) for row, column in shifts]


def fold(x: Array, geometry: Geometry) -> Array:
    """The phases of the columns side by side, as channels."""
    b, h, _, c = x.shape
    s, width = geometry.stride, geometry.phase_size[1]
    return crop(x, (0, 0), (h, s * width)).reshape(b, h, width, s * c)


def interleave(phases: list[Array], geometry: Geometry) -> Array:
    """The image whose phases, row by row, are given."""
    s, (h, w) = geometry.stride, geometry.image
    if s == 1:
        return phases[0]
    b, height, width, c = phases[0].shape
    rows = [
        jnp.stack(phases[f * s : (f + 1) * s], axis=3).reshape(b, height, width * s, c)
        for f in range(s)
    ]
    return jnp.stack(rows, axis=2).reshape(b, height * s, width * s, c)[:, :h, :w]


def multiply(x: Float[Array, "b m n c"], weights: Float[Array, "c k"]) -> Array:
    """[b, m, n, k]: the product, which for one long column is faster as a row."""
    if weights.shape[1] > 1 or weights.shape[0] <= WIDE:
        return x @ weights
    return (weights.T @ x.reshape(-1, x.shape[3]).T).reshape(*x.shape[:3], 1)


def contract(x: Float[Array, "b m n c"], y: Float[Array, "b m n o"]) -> Array:
    """The sum over all pixels of products of channels."""
    b, m, n, _ = x.shape
    if min(x.shape[3], y.shape[3]) == 1:  # faster for each example
        x, y = (pixels.reshape(b, m * n, pixels.shape[3]) for pixels in (x, y))
        return jnp.einsum("bpc,bpo->bco", x, y).sum(0)
    x, y = (pixels.reshape(-1, pixels.shape[3]) for pixels in (x, y))
    if y.shape[1] < x.shape[1] and y.shape[1] <= 2 * WIDE:
        # Twice to four times as fast this way round; XLA would turn it without barrier.
        return lax.optimization_barrier(y.T @ x).T
    return x.T @ y
