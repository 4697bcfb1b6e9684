"""The forms in which convolutions and their gradients are fast on the CPU.

Each finds y, x or the kernel of

    y[b, m, n, o] = Σ_ijc x[b, s m + i - top, s n + j - left, c] kernel[i, j, c, o]

from the other two; `cpu.py` explains them and chooses between them. A kernel is
[kh, kw, c, o]; only `gather_y` and `scatter_x` take it, and `kernel_by_tap` gives it,
as it is kept, see `Geometry.swapped`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxae.networks.convolution.geometry import Geometry, Pads, Pair
from jaxae.networks.convolution.pixels import (
    WIDE,
    contract,
    crop,
    fold,
    interleave,
    multiply,
    phase_pixels,
    place,
    seen_by_phase,
    window,
)

LAYOUT = ("NHWC", "HWIO", "NHWC")


def canonical(x: Array, kernel: Array, stride: int, rows: Pads, columns: Pads) -> Array:
    """XLA's convolution, of the kind that is fast."""
    if min(*rows, *columns) < 0:  # for which XLA's CPU backend gives wrong values
        first, (h, w) = (-rows[0], -columns[0]), x.shape[1:3]
        x = crop(x, first, (h + sum(rows), w + sum(columns)))
        rows = columns = (0, 0)
    if _is_odd(*kernel.shape[2:]):
        x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0),) * 3 + ((0, 1, 0),))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), (rows, columns), dimension_numbers=LAYOUT
    )


def _is_odd(c: int, o: int) -> bool:
    """Whether a channel of zeros makes XLA faster, up to 14 times before JAX 0.12."""
    some = c % 2 == 1 < c and (16 < o <= 32 or 64 < o <= 96)
    return some and jax.__version_info__ < (0, 12)


def gather_y(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """One product with what all taps see, or of many channels the sum of one a tap."""
    if x.shape[3] < WIDE and not _one_loop(x.shape[3], geometry):
        plain = geometry.plain(kernel)
        seen = [window(x, geometry, i, j) for i, j in geometry.taps]
        return jnp.concatenate(seen, axis=3) @ plain.reshape(-1, plain.shape[3])
    forth = functools.partial(jnp.einsum, f"bmnc,{geometry.channels}->bmno")
    terms = [
        place(forth(x[at.x], kernel[at.tap]), at.y, geometry.reduced)
        for at in geometry.meetings
    ]
    return functools.reduce(jnp.add, terms)


def _one_loop(c: int, geometry: Geometry) -> bool:
    """Whether XLA makes one fast loop, without products, of a sum over taps."""
    return c == 1 and math.prod(geometry.kernel) <= 4


def scatter_y(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """For each phase one product with its taps, shifted and summed."""
    o = kernel.shape[3]
    y = jnp.zeros((x.shape[0], *geometry.reduced, o), x.dtype)
    for phase in geometry.phases:
        taps = list(phase.taps)
        if not taps:
            continue
        weights = jnp.concatenate([kernel[tap] for tap in taps], axis=1)
        products = multiply(phase_pixels(x, phase, geometry), weights)
        products = jnp.split(products, len(taps), axis=3)
        for (i, j), product in zip(taps, products, strict=True):
            y += crop(product, phase.shift(geometry, i, j), geometry.reduced)
    return y


def folded_y(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """`scatter_y` of all rows, with the phases of the columns as channels."""
    c, o = kernel.shape[2:]
    folded, zeros = geometry.folded
    kernel = jnp.pad(kernel, ((0, 0), zeros, (0, 0), (0, 0)))
    kernel = kernel.reshape(*folded.kernel, geometry.stride * c, o)
    return scatter_y(fold(x, geometry), kernel, folded)[:, :: geometry.stride]


def gather_x(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """Each phase is one product with what its taps see of y."""
    size = geometry.phase_size
    phases = []
    for phase in geometry.phases:
        weights = [kernel[tap].T for tap in phase.taps]
        if not weights:
            phases.append(jnp.zeros((y.shape[0], *size, kernel.shape[2]), y.dtype))
            continue
        seen = seen_by_phase(y, phase, geometry, size)
        phases.append(jnp.concatenate(seen, axis=3) @ jnp.concatenate(weights))
    return interleave(phases, geometry)


def scatter_x(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """Each phase is a sum of products with its taps, shifted by whole pixels."""
    plain = geometry.plain(kernel)
    c, o = plain.shape[2:]
    if min(c, o) < WIDE:
        weights = plain.transpose(3, 0, 1, 2).reshape(o, -1)
        parts = jnp.split(multiply(y, weights), math.prod(geometry.kernel), axis=3)
        products = dict(zip(geometry.taps, parts, strict=True))
        terms = [(at, products[at.tap][at.y]) for at in geometry.meetings]
    else:
        back = functools.partial(jnp.einsum, f"bmno,{geometry.channels}->bmnc")
        terms = [(at, back(y[at.y], kernel[at.tap])) for at in geometry.meetings]
    if len(terms) == 1:
        ((at, term),) = terms
        return place(term, at.x, geometry.image)
    zeros = jnp.zeros((y.shape[0], *geometry.phase_size, c), y.dtype)
    phases = {(phase.row, phase.column): zeros for phase in geometry.phases}
    for at, term in terms:
        phase, pixels = at.in_phase
        phases[phase] += place(term, pixels, geometry.phase_size)
    return interleave(list(phases.values()), geometry)


def mirror_x(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """For stride 1: a convolution of y with the taps from the last to the first."""
    pads = zip(geometry.kernel, (geometry.rows, geometry.columns), strict=True)
    rows, columns = ((k - 1 - low, k - 1 - high) for k, (low, high) in pads)
    return canonical(y, kernel[::-1, ::-1].transpose(0, 1, 3, 2), 1, rows, columns)


def kernel_by_tap(x: Array, y: Array, geometry: Geometry) -> Array:
    """A product for each tap."""
    if geometry.swapped and x.shape[3] * y.shape[3] >= 2**18:
        # As the kernel lies: XLA would take longer to swap the result than to find it.
        found = {at.tap: contract(y[at.y], x[at.x]) for at in geometry.meetings}
        return _assemble(found, geometry)
    found = {at.tap: contract(x[at.x], y[at.y]) for at in geometry.meetings}
    return geometry.plain(_assemble(found, geometry))


def kernel_by_x(x: Array, y: Array, geometry: Geometry) -> Array:
    """Gathers x: a product for each row of taps, or one for all."""
    (kh, kw), c, o = geometry.kernel, x.shape[3], y.shape[3]
    seen = [window(x, geometry, i, j) for i, j in geometry.taps]
    together = kw if kw * c >= WIDE else kh * kw
    products = [
        contract(jnp.concatenate(seen[first : first + together], axis=3), y)
        for first in range(0, kh * kw, together)
    ]
    return jnp.concatenate(products).reshape(kh, kw, c, o)


def kernel_by_y(x: Array, y: Array, geometry: Geometry) -> Array:
    """Gathers y: a product for each phase."""
    found: dict[Pair, Array] = {}
    for phase in geometry.phases:
        taps = list(phase.taps)
        if not taps:
            continue
        pixels = phase_pixels(x, phase, geometry)
        seen = seen_by_phase(y, phase, geometry, (pixels.shape[1], pixels.shape[2]))
        product = contract(pixels, jnp.concatenate(seen, axis=3))
        found |= zip(taps, jnp.split(product, len(taps), axis=1), strict=True)
    return _assemble(found, geometry)


def folded_kernel(x: Array, y: Array, geometry: Geometry) -> Array:
    """`kernel_by_y` for all rows, with the phases of the columns as channels."""
    folded, (before, _) = geometry.folded
    between = ((0, 0, 0), (0, 0, geometry.stride - 1), (0, 0, 0), (0, 0, 0))
    y = lax.pad(y, jnp.zeros((), y.dtype), between)
    kernel = kernel_by_y(fold(x, geometry), y, folded)
    kernel = kernel.reshape(geometry.kernel[0], -1, x.shape[3], y.shape[3])
    return kernel[:, before : before + geometry.kernel[1]]


def _assemble(found: dict[Pair, Array], geometry: Geometry) -> Array:
    """A kernel from its taps; zero where none was found."""
    zeros = jnp.zeros_like(next(iter(found.values())))
    kernel = jnp.stack([found.get(tap, zeros) for tap in geometry.taps])
    return kernel.reshape(*geometry.kernel, *zeros.shape)
