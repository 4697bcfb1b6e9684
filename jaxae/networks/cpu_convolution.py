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
the batch, gathering from the narrower of x and y: it is summed over chunks of the batch
that stay in the cache. So are the products that a large image would be scattered from.

For a stride s, the pixels s m + f of x, for one f < s, are a phase. A tap i meets only
the phase (i - top) mod s, as a shift by whole pixels, so that with s phases along each
axis what is said of images holds for their phases. Where even the copies of phases are
too much, because hardly a channel comes out, the phases of the columns become channels,
which for even widths moves nothing, and all rows are multiplied, half of them for
nothing.

The choices between the forms were measured, see `train/benchmark/README.md`.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxae.networks.geometry import Geometry, Pads, Pair, Phase

LAYOUT = ("NHWC", "HWIO", "NHWC")
WIDE = 32
"""Channels from which on a tap is worth a product of its own; else several share one,
for which their operands are copied."""
NARROW = 8
"""Channels that are few to copy or, of the output, too few to copy phases for."""
CACHE = 2**19
"""Numbers that stay in the cache from one product with them to the next."""
TOO_LARGE = 16 * CACHE
"""Numbers from which on products are better made and added up in chunks."""
WORTH_A_LOOP = 4e6
"""Operations of a step from which on it may be one of a loop."""
DEVICES = 8
"""Examples that chunks are multiples of: this many devices, or 2 or 4, share them."""
SHALLOW = 9
"""Rows of a matrix up to which products with it take longer than sums of their own."""


def canonical(x: Array, kernel: Array, stride: int, rows: Pads, columns: Pads) -> Array:
    """XLA's convolution, of the kind that is fast."""
    if min(*rows, *columns) < 0:  # for which XLA's CPU backend gives wrong values
        first, (h, w) = (-rows[0], -columns[0]), x.shape[1:3]
        x = _crop(x, first, (h + sum(rows), w + sum(columns)))
        rows = columns = (0, 0)
    if _is_odd(*kernel.shape[2:]):
        x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0),) * 3 + ((0, 1, 0),))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), (rows, columns), dimension_numbers=LAYOUT
    )


def find_y(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw _c _o"], geometry: Geometry
) -> Float[Array, "b m n o"]:
    """The convolution."""
    plain = geometry.plain(kernel)
    c, o = plain.shape[2:]
    m, n = geometry.reduced
    if _few(o, c) and _alike(geometry):
        return (_folded_y if _folds(o, geometry) else _scatter_y)(x, plain, geometry)
    # XLA rearranges the kernel, which few pixels are not worth.
    heavy = 64 <= o <= 128 or kernel.size >= 2**20
    small = m * n <= 4 * geometry.stride**2 or (m * n <= 64 and heavy)
    few_taps = geometry.stride > 1 and c >= WIDE and max(geometry.kernel) <= 3
    if few_taps and not small and max(c, o) <= 2 * WIDE:
        return _scatter_y(x, plain, geometry)
    if small or few_taps or _one_product(c, o, geometry):
        return _gather_y(x, kernel, geometry)
    return canonical(x, plain, geometry.stride, geometry.rows, geometry.columns)


def _gather_y(x: Array, kernel: Array, geometry: Geometry) -> Array:
    if x.shape[3] < WIDE and not _one_loop(x.shape[3], geometry):
        plain = geometry.plain(kernel)
        seen = [_window(x, geometry, i, j) for i, j in geometry.taps]
        return jnp.concatenate(seen, axis=3) @ plain.reshape(-1, plain.shape[3])
    forth = functools.partial(jnp.einsum, f"bmnc,{geometry.channels}->bmno")
    terms = [
        _place(forth(x[at.x], kernel[at.tap]), at.y, geometry.reduced)
        for at in geometry.meetings
    ]
    return functools.reduce(jnp.add, terms)


def _scatter_y(x: Array, kernel: Array, geometry: Geometry) -> Array:
    o = kernel.shape[3]
    y = jnp.zeros((x.shape[0], *geometry.reduced, o), x.dtype)
    for phase in geometry.phases:
        taps = list(phase.taps)
        if not taps:
            continue
        weights = jnp.concatenate([kernel[tap] for tap in taps], axis=1)
        products = _multiply(_pixels(x, phase, geometry), weights)
        products = jnp.split(products, len(taps), axis=3)
        for (i, j), product in zip(taps, products, strict=True):
            y += _crop(product, phase.shift(geometry, i, j), geometry.reduced)
    return y


def _folded_y(x: Array, kernel: Array, geometry: Geometry) -> Array:
    c, o = kernel.shape[2:]
    folded, zeros = geometry.folded
    kernel = jnp.pad(kernel, ((0, 0), zeros, (0, 0), (0, 0)))
    kernel = kernel.reshape(*folded.kernel, geometry.stride * c, o)
    return _scatter_y(_fold(x, geometry), kernel, folded)[:, :: geometry.stride]


def _fold(x: Array, geometry: Geometry) -> Array:
    """The phases of the columns side by side, as channels."""
    b, h, _, c = x.shape
    s, width = geometry.stride, geometry.phase_size[1]
    return _crop(x, (0, 0), (h, s * width)).reshape(b, h, width, s * c)


def find_x(
    y: Float[Array, "b m n o"], kernel: Float[Array, "kh kw _c _o"], geometry: Geometry
) -> Float[Array, "b h w c"]:
    """The gradient for x, which is also the transposed convolution of y."""
    c, o = geometry.plain(kernel).shape[2:]
    small = math.prod(geometry.image) <= 64 and (c <= 128 or kernel.size >= 2**20)
    strided, depth = geometry.stride > 1, math.prod(geometry.kernel) * o
    small = small or not _alike(geometry)
    if strided and not small and _few(o, c) and depth > SHALLOW:
        return _gather_x(y, geometry.plain(kernel), geometry)
    line = min(geometry.kernel) == 1 and not _narrow(c, o, geometry)
    if strided or _few(c, o) or line or small:
        return _scatter_in_turn(y, kernel, geometry)
    return _mirror_x(y, geometry.plain(kernel), geometry)


def _gather_x(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """Each phase is one product with what its taps see of y."""
    size = geometry.phase_size
    phases = []
    for phase in geometry.phases:
        weights = [kernel[tap].T for tap in phase.taps]
        if not weights:
            phases.append(jnp.zeros((y.shape[0], *size, kernel.shape[2]), y.dtype))
            continue
        seen = _seen(y, phase, geometry, size)
        phases.append(jnp.concatenate(seen, axis=3) @ jnp.concatenate(weights))
    return _interleave(phases, geometry)


def _scatter_in_turn(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """By some examples after the others, where all products at once are too large."""
    b, m, n, _ = y.shape
    each = m * n * math.prod(geometry.kernel) * geometry.plain(kernel).shape[2]
    # In jax.export the number of examples may be symbolic.
    if not isinstance(b, int) or b * each <= TOO_LARGE:
        return _scatter_x(y, kernel, geometry)
    at_once = _at_once(b, 2 * CACHE // each, each)
    whole = b // at_once * at_once
    chunks = _divide(y[:whole], at_once)

    def scatter(i: Array) -> Array:
        return _scatter_x(_take(chunks, i), kernel, geometry)

    found = lax.map(scatter, jnp.arange(whole // at_once))
    found = found.swapaxes(0, 1).reshape(whole, *found.shape[2:])
    if whole == b:
        return found
    return jnp.concatenate([found, _scatter_x(y[whole:], kernel, geometry)])


def _scatter_x(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """Each phase is a sum of products with its taps, shifted by whole pixels."""
    plain = geometry.plain(kernel)
    c, o = plain.shape[2:]
    if min(c, o) < WIDE:
        weights = plain.transpose(3, 0, 1, 2).reshape(o, -1)
        parts = jnp.split(_multiply(y, weights), math.prod(geometry.kernel), axis=3)
        products = dict(zip(geometry.taps, parts, strict=True))
        terms = [(at, products[at.tap][at.y]) for at in geometry.meetings]
    else:
        back = functools.partial(jnp.einsum, f"bmno,{geometry.channels}->bmnc")
        terms = [(at, back(y[at.y], kernel[at.tap])) for at in geometry.meetings]
    if len(terms) == 1:
        ((at, term),) = terms
        return _place(term, at.x, geometry.image)
    zeros = jnp.zeros((y.shape[0], *geometry.phase_size, c), y.dtype)
    phases = {(phase.row, phase.column): zeros for phase in geometry.phases}
    for at, term in terms:
        phase, pixels = at.in_phase
        phases[phase] += _place(term, pixels, geometry.phase_size)
    return _interleave(list(phases.values()), geometry)


def _mirror_x(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """Of stride 1: a convolution of y with the taps from the last to the first."""
    pads = zip(geometry.kernel, (geometry.rows, geometry.columns), strict=True)
    rows, columns = ((k - 1 - low, k - 1 - high) for k, (low, high) in pads)
    return canonical(y, kernel[::-1, ::-1].transpose(0, 1, 3, 2), 1, rows, columns)


def _interleave(phases: list[Array], geometry: Geometry) -> Array:
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


def find_kernel(
    x: Float[Array, "b h w c"], y: Float[Array, "b m n o"], geometry: Geometry
) -> Float[Array, "kh kw _c _o"]:
    """The gradient for the kernel, given one for y."""
    c, o, taps = x.shape[3], y.shape[3], math.prod(geometry.kernel)
    alike = _alike(geometry)
    if _few(o, c) and _folds(o, geometry) and alike:
        return geometry.plain(_folded_kernel(x, y, geometry))
    deep = c >= 4 * WIDE and (c < o or math.prod(geometry.image) <= 64)
    if (deep and taps > 1) or (c >= WIDE and not alike):
        # Four times: the operands are read again for every tap.
        return _in_chunks(_kernel_by_tap, 4 * max(c, o), x, y, geometry)
    if o <= 2 * c and c >= NARROW and alike:
        form, gathered, whole = _kernel_by_y, taps * o, c
    else:
        form, gathered, whole = _kernel_by_x, taps * c, o
    if gathered <= 2 * whole:  # the copies for the loop would be the larger ones
        return geometry.plain(form(x, y, geometry))
    return geometry.plain(_in_chunks(form, gathered, x, y, geometry))


def _in_chunks(
    form: Callable[[Array, Array, Geometry], Array],
    numbers: int,
    x: Array,
    y: Array,
    geometry: Geometry,
) -> Array:
    """The sum over chunks of the batch, for a form that handles `numbers` a pixel."""
    at_once = _chunk(x, y, numbers, geometry)
    if at_once == y.shape[0]:
        return form(x, y, geometry)
    whole = y.shape[0] // at_once * at_once
    rest = (x[whole:], y[whole:]) if whole < y.shape[0] else None
    x, y = (_divide(images[:whole], at_once) for images in (x, y))

    def add(total: Array, i: Array) -> tuple[Array, None]:
        return total + form(_take(x, i), _take(y, i), geometry), None

    kernel = jax.eval_shape(lambda: form(x[:, 0], y[:, 0], geometry))
    none = jnp.zeros(kernel.shape, kernel.dtype)
    first = vary_alike(none, x, y)[0] if rest is None else form(*rest, geometry)
    return lax.scan(add, first, jnp.arange(x.shape[1]))[0]


def _chunk(x: Array, y: Array, numbers: int, geometry: Geometry) -> int:
    """Examples at a time, of whose pixels so many `numbers` each stay in the cache."""
    b, m, n, o = y.shape
    pixels = max(1024, CACHE // numbers)
    work = 2 * pixels * math.prod(geometry.kernel) * x.shape[3] * o
    # In jax.export the number may be symbolic.
    if not isinstance(b, int) or work < WORTH_A_LOOP or pixels >= b * m * n:
        return b
    return _at_once(b, pixels // (m * n), m * n * numbers)


def _divide(images: Array, at_once: int) -> Array:
    """[at_once, chunks, h, w, c]: what `_take` takes the chunks from.

    Each has one example from each of `at_once` parts of the batch: devices that share
    the batch share every chunk.
    """
    return images.reshape(at_once, -1, *images.shape[1:])


def _take(chunks: Array, i: Array) -> Array:
    """Chunk i of what `_divide` gave: [at_once, h, w, c]."""
    return lax.dynamic_index_in_dim(chunks, i, 1, keepdims=False)


def _at_once(b: int, most: int, each: int) -> int:
    """How many of b examples, of `each` so many numbers, of which `most` are wanted.

    If possible a multiple of `DEVICES`, be they more than wanted but not far too many:
    devices among which the batch is divided can share such a chunk without sending
    images around.
    """
    if DEVICES * each <= 8 * CACHE:
        most = max(most, DEVICES)
    most = min(max(most, 1), b)
    for step in (DEVICES, 1):
        for size in range(most // step * step, most // 2, -step):
            if b % size == 0:
                return size
    return most


def _kernel_by_tap(x: Array, y: Array, geometry: Geometry) -> Array:
    if geometry.swapped and x.shape[3] * y.shape[3] >= 2**18:
        # As the kernel lies: XLA would take longer to swap the result than to find it.
        found = {at.tap: _contract(y[at.y], x[at.x]) for at in geometry.meetings}
        return _assemble(found, geometry)
    found = {at.tap: _contract(x[at.x], y[at.y]) for at in geometry.meetings}
    return geometry.plain(_assemble(found, geometry))


def _kernel_by_x(x: Array, y: Array, geometry: Geometry) -> Array:
    (kh, kw), c, o = geometry.kernel, x.shape[3], y.shape[3]
    seen = [_window(x, geometry, i, j) for i, j in geometry.taps]
    together = kw if kw * c >= WIDE else kh * kw
    products = [
        _contract(jnp.concatenate(seen[first : first + together], axis=3), y)
        for first in range(0, kh * kw, together)
    ]
    return jnp.concatenate(products).reshape(kh, kw, c, o)


def _kernel_by_y(x: Array, y: Array, geometry: Geometry) -> Array:
    found: dict[Pair, Array] = {}
    for phase in geometry.phases:
        taps = list(phase.taps)
        if not taps:
            continue
        pixels = _pixels(x, phase, geometry)
        seen = _seen(y, phase, geometry, (pixels.shape[1], pixels.shape[2]))
        product = _contract(pixels, jnp.concatenate(seen, axis=3))
        found |= zip(taps, jnp.split(product, len(taps), axis=1), strict=True)
    return _assemble(found, geometry)


def _folded_kernel(x: Array, y: Array, geometry: Geometry) -> Array:
    folded, (before, _) = geometry.folded
    between = ((0, 0, 0), (0, 0, geometry.stride - 1), (0, 0, 0), (0, 0, 0))
    y = lax.pad(y, jnp.zeros((), y.dtype), between)
    kernel = _kernel_by_y(_fold(x, geometry), y, folded)
    kernel = kernel.reshape(geometry.kernel[0], -1, x.shape[3], y.shape[3])
    return kernel[:, before : before + geometry.kernel[1]]


def _assemble(found: dict[Pair, Array], geometry: Geometry) -> Array:
    """A kernel from its taps; zero where none was found."""
    zeros = jnp.zeros_like(next(iter(found.values())))
    kernel = jnp.stack([found.get(tap, zeros) for tap in geometry.taps])
    return kernel.reshape(*geometry.kernel, *zeros.shape)


def _few(outputs: int, inputs: int) -> bool:
    """Whether a convolution has so few output channels that it is slow."""
    return 4 * outputs <= inputs


def _alike(geometry: Geometry) -> bool:
    """Whether y is about as large as the phases, or they would mostly see padding."""
    return math.prod(geometry.phase_size) <= 2 * math.prod(geometry.reduced)


def _folds(o: int, geometry: Geometry) -> bool:
    """Whether copying phases would take longer than multiplying every row."""
    return geometry.stride == 2 and max(geometry.kernel) > 1 and o <= NARROW


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


def _is_odd(c: int, o: int) -> bool:
    """Whether a channel of zeros makes XLA faster, up to 14 times before JAX 0.12."""
    some = c % 2 == 1 < c and (16 < o <= 32 or 64 < o <= 96)
    return some and jax.__version_info__ < (0, 12)


def _one_loop(c: int, geometry: Geometry) -> bool:
    """Whether XLA makes one fast loop, without products, of a sum over taps."""
    return c == 1 and math.prod(geometry.kernel) <= 4


def vary_alike(*arrays: Array) -> list[Array]:
    """Under `jax.shard_map`, both as different from device to device as either is."""
    axes = frozenset().union(*map(_varying, arrays))
    missing = [tuple(axes - _varying(array)) for array in arrays]
    return [
        lax.pcast(array, over, to="varying") if over else array
        for array, over in zip(arrays, missing, strict=True)
    ]


def _varying(array: Array) -> frozenset[str]:
    return jax.typeof(array).mat.varying


def _multiply(x: Float[Array, "b m n c"], weights: Float[Array, "c k"]) -> Array:
    """[b, m, n, k]: the product, which for one long column is faster as a row."""
    if weights.shape[1] > 1 or weights.shape[0] <= WIDE:
        return x @ weights
    return (weights.T @ x.reshape(-1, x.shape[3]).T).reshape(*x.shape[:3], 1)


def _contract(x: Float[Array, "b m n c"], y: Float[Array, "b m n o"]) -> Array:
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


def _pixels(x: Array, phase: Phase, geometry: Geometry) -> Array:
    """The pixels of a phase."""
    return x[:, phase.row :: geometry.stride, phase.column :: geometry.stride]


def _seen(y: Array, phase: Phase, geometry: Geometry, size: Pair) -> list[Array]:
    """What `size` pixels of a phase see of y, for each of its taps."""
    shifts = [phase.shift(geometry, i, j) for i, j in phase.taps]
    return [_crop(y, (-row, -column), size) for row, column in shifts]


def _window(x: Array, geometry: Geometry, i: int, j: int) -> Array:
    """What one tap sees of x: [b, m, n, c]."""
    s = geometry.stride
    m, n = geometry.reduced
    x = _crop(x, geometry.first(i, j), (s * (m - 1) + 1, s * (n - 1) + 1))
    return x[:, ::s, ::s]


def _place(part: Array, at: tuple[slice, slice, slice], size: Pair) -> Array:
    """Zeros of `size`, but for `part` where the slices say: slicing transposed."""
    _, *axes = at
    pads = [
        (axis.start, length - axis.stop, (axis.step or 1) - 1)
        for axis, length in zip(axes, size, strict=True)
    ]
    return lax.pad(part, jnp.zeros((), part.dtype), ((0, 0, 0), *pads, (0, 0, 0)))


def _crop(x: Array, first: Pair, size: Pair) -> Array:
    """`size` pixels of x from `first` on; zeros where there is no x."""
    pads = [
        (-start, start + count - length, 0)
        for start, count, length in zip(first, size, x.shape[1:3], strict=True)
    ]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
