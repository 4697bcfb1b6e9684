"""Convolutions that are fast on the CPU, forward and backward, in loops and outside.

XLA's CPU backend runs one kind of convolution near the speed of matrix products: images
[b, h, w, c], kernel [kh, kw, c, o], no dilation, nothing mirrored, more than a few
output channels, more than a few pixels. The gradients that JAX derives from it are of
other kinds. A pass that turns them into that kind leaves out the bodies of loops, so
that in a scanned epoch they run in a naive loop, 10 to 300 times slower. Here each of

    y[b, m, n, o] = Σ_ijc x[b, s m + i - top, s n + j - left, c] kernel[i, j, c, o],

its gradient for x and its gradient for the kernel is written as convolutions of that
one kind or as matrix products. These are in one of two orders:

- gather: what the taps (i, j) of the kernel see of an image lies side by side, and is
  multiplied once;
- scatter: every pixel is multiplied by the taps, and the shifted products are summed.

Gathering copies the channels that go in, scattering those that come out, so that few
of either decide between them. The gradient for the kernel contracts over all pixels of
the batch, gathering from the narrower of x and y: where that copies much, it is summed
over chunks of the batch that stay in the cache. So are the products that a large image
would be scattered from.

For a stride s, the pixels s m + f of x, for one f < s, are a phase. A tap i meets only
the phase (i - top) mod s, as a shift by whole pixels, so that with s phases along each
axis what is said of images holds for their phases. Where even the copies of phases are
too much, because hardly a channel comes out, the phases of the columns become channels,
which moves nothing if the width is even, and all rows are multiplied, half of them for
nothing.

The choices between the forms were measured, see `train/benchmark/README.md`.
"""

import math

from jaxtyping import Array, Float

from jaxae.networks.convolution.chunks import map_over_chunks, sum_over_chunks
from jaxae.networks.convolution.forms import (
    canonical,
    folded_kernel,
    folded_y,
    gather_x,
    gather_y,
    kernel_by_tap,
    kernel_by_x,
    kernel_by_y,
    mirror_x,
    scatter_x,
    scatter_y,
)
from jaxae.networks.convolution.geometry import Geometry
from jaxae.networks.convolution.pixels import WIDE

NARROW = 8
"""Channels that are few to copy or, of the output, too few to copy phases for."""
SHALLOW = 9
"""Rows of a matrix up to which products with it take longer than sums of their own."""


def find_y(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw _c _o"], geometry: Geometry
) -> Float[Array, "b m n o"]:
    """The convolution."""
    plain = geometry.plain(kernel)
    c, o = plain.shape[2:]
    m, n = geometry.reduced
    if _few(o, c) and _alike(geometry):
        return (folded_y if _folds(c, o, geometry) else scatter_y)(x, plain, geometry)
    # XLA rearranges the kernel, which few pixels are not worth.
    heavy = 64 <= o <= 128 or kernel.size >= 2**20
    small = m * n <= 4 * geometry.stride**2 or (m * n <= 64 and heavy)
    few_taps = geometry.stride > 1 and c >= WIDE and max(geometry.kernel) <= 3
    if few_taps and not small and max(c, o) <= 2 * WIDE:
        return scatter_y(x, plain, geometry)
    if small or few_taps or _one_product(c, o, geometry):
        return gather_y(x, kernel, geometry)
    return canonical(x, plain, geometry.stride, geometry.rows, geometry.columns)


def find_x(
    y: Float[Array, "b m n o"], kernel: Float[Array, "kh kw _c _o"], geometry: Geometry
) -> Float[Array, "b h w c"]:
    """The gradient for x, which is also the transposed convolution of y."""
    c, o = geometry.plain(kernel).shape[2:]
    small = math.prod(geometry.image) <= 64 and (c <= 128 or kernel.size >= 2**20)
    strided, depth = geometry.stride > 1, math.prod(geometry.kernel) * o
    small = small or not _alike(geometry)
    if strided and not small and _few(o, c) and depth > SHALLOW:
        return gather_x(y, geometry.plain(kernel), geometry)
    line = min(geometry.kernel) == 1 and not _narrow(c, o, geometry)
    if strided or _few(c, o) or line or small:
        m, n = geometry.reduced
        products = m * n * math.prod(geometry.kernel) * c
        return map_over_chunks(lambda y: scatter_x(y, kernel, geometry), products, y)
    return mirror_x(y, geometry.plain(kernel), geometry)


def find_kernel(
    x: Float[Array, "b h w c"], y: Float[Array, "b m n o"], geometry: Geometry
) -> Float[Array, "kh kw _c _o"]:
    """The gradient for the kernel, given one for y."""
    c, o, taps = x.shape[3], y.shape[3], math.prod(geometry.kernel)
    alike, few = _alike(geometry), _few(o, c)
    # Of the product, which all taps and outputs share.
    few_rows = few and taps * o <= min(max(c, WIDE), 2 * WIDE)
    if few_rows and _folds(c, o, geometry) and alike:
        return geometry.plain(folded_kernel(x, y, geometry))
    small = math.prod(geometry.image) <= 64 and not few
    deep = c >= 4 * WIDE and (c < o or small)
    if (deep and taps > 1) or (c >= WIDE and not alike):
        # Four times: the operands are read again for every tap.
        return sum_over_chunks(kernel_by_tap, 4 * max(c, o), x, y, geometry)
    if o <= 2 * c and c >= NARROW and alike:
        form, gathered, whole = kernel_by_y, taps * o, c
    else:
        form, gathered, whole = kernel_by_x, taps * c, o
    # Of stride 1 the copies for the loop would be the larger ones; of others the phases
    # are copied anyway.
    if gathered <= 2 * whole and geometry.stride == 1:
        return geometry.plain(form(x, y, geometry))
    return geometry.plain(sum_over_chunks(form, gathered, x, y, geometry))


def _few(outputs: int, inputs: int) -> bool:
    """Whether the outputs are so few that XLA is slow, and copies of them are cheap."""
    return 4 * outputs <= inputs


def _alike(geometry: Geometry) -> bool:
    """Whether y is about as large as the phases, or they would mostly see padding."""
    return math.prod(geometry.phase_size) <= 2 * math.prod(geometry.reduced)


def _folds(c: int, o: int, geometry: Geometry) -> bool:
    """Whether copying phases would take longer than multiplying every row."""
    if geometry.stride != 2 or max(geometry.kernel) == 1 or o > NARROW:
        return False
    # An odd width has to be padded, which is a copy, too.
    return geometry.image[1] % 2 == 0 or c < 4 * WIDE


def _narrow(c: int, o: int, geometry: Geometry) -> bool:
    """Whether XLA's convolution is faster than a product, though of one tap."""
    one_tap = geometry.stride == 1 and geometry.kernel == (1, 1)
    return one_tap and NARROW <= min(c, o) and max(c, o) <= WIDE // 2


def _one_product(c: int, o: int, geometry: Geometry) -> bool:
    """Whether a copy of what few taps see is worth it."""
    taps = math.prod(geometry.kernel)
    if taps == 1:
        return not _narrow(c, o, geometry)
    return taps <= 4 and (c < NARROW or c < WIDE <= o // 2)
