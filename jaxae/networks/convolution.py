"""Convolutions whose gradients are fast on the CPU too, also inside `lax.scan`.

XLA's CPU backend runs a convolution fast only where its operands lie in one canonical
order. The gradients of a convolution do not, and the pass that reorders them skips the
bodies of loops, so in a scanned epoch they fall into a naive loop, 10 to 100 times
slower than a matrix product of the same size. Here a convolution on the CPU *is* a
matrix product plus shifts, in one of two orders:

- gather: collect the shifted inputs of every kernel tap, then one product (im2col);
- scatter: one product for every tap, then sum the shifted results (col2im).

Each is the other's transpose, and both are ordinary JAX operations: derivatives of any
order and mode, `vmap` and sharding need no rule of their own. All other platforms get
XLA's own convolution; the choice is made when a program is lowered.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from jaxae.errors import require
from jaxae.precision import spread

LAYOUT = ("NHWC", "HWIO", "NHWC")
Pads = tuple[int, int]


def conv(
    x: Float[Array, "..."], kernel: Float[Array, "..."], stride: int = 1
) -> Float[Array, "b _h _w o"]:
    """Convolution with SAME padding, equal to `flax.linen.Conv`'s.

    Args:
        x: Images [b, h, w, c].
        kernel: [kh, kw, c, o], of x's dtype.
        stride: In pixels, the same in both directions.

    Returns:
        [b, ceil(h / stride), ceil(w / stride), o].

    Raises:
        ValueError: A shape or the stride is not as stated.
    """
    _check(x, kernel, stride)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_in_float32, _conv_by_products, stride=stride),
        default=lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT
        ),
    )


def conv_transpose(
    x: Float[Array, "..."], kernel: Float[Array, "..."], stride: int = 1
) -> Float[Array, "b _h _w o"]:
    """Transposed convolution with SAME padding, equal to `flax.linen.ConvTranspose`'s.

    As there, the kernel is not mirrored: this is a convolution of x with stride - 1
    zeros between its pixels.

    Args:
        x: Images [b, h, w, c].
        kernel: [kh, kw, c, o], of x's dtype.
        stride: In pixels of the result, the same in both directions.

    Returns:
        [b, h * stride, w * stride, o].

    Raises:
        ValueError: A shape or the stride is not as stated.
    """
    _check(x, kernel, stride)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_in_float32, _conv_transpose_by_products, stride=stride),
        default=lambda x, kernel: lax.conv_transpose(
            x, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT
        ),
    )


def max_pool(x: Float[Array, "..."], window: int = 2) -> Float[Array, "b _h _w c"]:
    """The maximum over adjacent windows; those at the far edges may be smaller.

    Equal to `flax.linen.max_pool` with stride `window` and SAME padding, except that
    equal maxima share the gradient instead of the first one taking it.

    Args:
        x: Images [b, h, w, c].
        window: Side of the windows, in pixels.

    Returns:
        [b, ceil(h / window), ceil(w / window), c].

    Raises:
        ValueError: x is no batch of images, or window is not positive.
    """
    require(x.ndim == 4, "x", x.shape, "[batch, height, width, channels]")
    require(window >= 1, "window", window, "at least 1")
    pads = lax.padtype_to_pads(x.shape[1:3], (window, window), (window, window), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    b, h, w, c = x.shape
    return x.reshape(b, h // window, window, w // window, window, c).max((2, 4))


class Conv(nn.Module):
    """`conv` with parameters: `flax.linen.Conv` for images, names and shapes included.

    Attributes:
        features: Output channels.
        kernel_size: Side of the kernel, in pixels.
        stride: In pixels.
        use_bias: Add a bias per output channel, zero at first.
        kernel_init: Initialiser of the kernel.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "b _h _w o"]:
        return _apply_layer(self, conv, x)


class ConvTranspose(nn.Module):
    """`conv_transpose` with parameters: `flax.linen.ConvTranspose` for images.

    Attributes:
        features: Output channels.
        kernel_size: Side of the kernel, in pixels.
        stride: In pixels of the result.
        use_bias: Add a bias per output channel, zero at first.
        kernel_init: Initialiser of the kernel.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "b _h _w o"]:
        return _apply_layer(self, conv_transpose, x)


def _apply_layer(
    layer: Conv | ConvTranspose, op: Callable[[Array, Array, int], Array], x: Array
) -> Array:
    require(x.ndim == 4, "x", x.shape, "[batch, height, width, channels]")
    shape = (layer.kernel_size, layer.kernel_size, x.shape[-1], layer.features)
    kernel = layer.param("kernel", layer.kernel_init, shape)
    x, kernel = promote_dtype(x, kernel, dtype=layer.dtype)
    y = op(x, kernel, layer.stride)
    if not layer.use_bias:
        return y
    bias = layer.param("bias", nn.initializers.zeros, (layer.features,))
    return y + spread(bias, y)


def _check(x: Array, kernel: Array, stride: int) -> None:
    require(x.ndim == 4, "x", x.shape, "[batch, height, width, channels]")
    require(
        kernel.ndim == 4 and kernel.shape[2] == x.shape[3],
        "kernel",
        kernel.shape,
        f"[kernel height, kernel width, {x.shape[3]}, features] for x of {x.shape}",
    )
    require(stride >= 1, "stride", stride, "at least 1")


def _in_float32(
    form: Callable[[Array, Array, int], Array], x: Array, kernel: Array, stride: int
) -> Array:
    """Rounds narrower types once, at the end, as XLA's own convolution does.

    Sums of bfloat16 products were off by 3% of the largest gradient (JAX 0.12).
    """
    wide = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
    return form(x.astype(wide), kernel.astype(wide), stride).astype(x.dtype)


def _conv_by_products(x: Array, kernel: Array, stride: int) -> Array:
    c, o = kernel.shape[2:]
    # Both orders copy: c numbers per tap and output pixel, or o per tap and input
    # pixel. Copies of few channels are the slower ones, hence the factor 4 (measured).
    few_outputs = 4 * o * stride**2 <= c
    return (_conv_by_scatter if few_outputs else _conv_by_gather)(x, kernel, stride)


def _conv_by_gather(x: Array, kernel: Array, stride: int) -> Array:
    kh, kw, c, o = kernel.shape
    rows, columns = lax.padtype_to_pads(
        x.shape[1:3], (kh, kw), (stride, stride), "SAME"
    )
    taps = [
        _shift(x, _moved(rows, kh, i), _moved(columns, kw, j), stride)
        for i, j in itertools.product(range(kh), range(kw))
    ]
    return _product(jnp.concatenate(taps, axis=3), kernel.reshape(kh * kw * c, o))


def _conv_by_scatter(x: Array, kernel: Array, stride: int) -> Array:
    kh, kw = kernel.shape[:2]
    rows, columns = lax.padtype_to_pads(
        x.shape[1:3], (kh, kw), (stride, stride), "SAME"
    )
    terms = [
        _shift(tap, _moved(rows, kh, i), _moved(columns, kw, j), stride)
        for (i, j), tap in _product_per_tap(x, kernel).items()
    ]
    return functools.reduce(jnp.add, terms)


def _conv_transpose_by_products(x: Array, kernel: Array, stride: int) -> Array:
    """One sum per phase, the place of an output pixel modulo the stride."""
    (b, h, w, _), (kh, kw, _, o) = x.shape, kernel.shape
    taps = _product_per_tap(x, kernel)
    phases = []
    for rows, columns in itertools.product(_phases(kh, stride), _phases(kw, stride)):
        terms = [
            _shift(taps[i, j], rows[i], columns[j])
            for i, j in itertools.product(rows, columns)
        ]
        # Where the stride exceeds the kernel, some pixels are reached by no tap.
        unreached = jnp.zeros((b, h, w, o), x.dtype)
        phases.append(functools.reduce(jnp.add, terms) if terms else unreached)
    y = jnp.stack(phases, axis=3).reshape(b, h, w, stride, stride, o)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * stride, w * stride, o)


def _phases(size: int, stride: int) -> list[dict[int, Pads]]:
    """For each phase along one axis: the taps that reach it, and each one's padding.

    With `before` zeros in front of the dilated input, output pixel stride * m + phase
    meets input pixel m + d through tap t where phase + t - before = stride * d.
    """
    # As lax.conv_transpose pads for SAME.
    before = size - 1 if stride > size - 1 else -(-(size + stride - 2) // 2)
    return [
        {
            t: (-((phase + t - before) // stride), (phase + t - before) // stride)
            for t in range((before - phase) % stride, size, stride)
        }
        for phase in range(stride)
    ]


def _moved(pads: Pads, size: int, tap: int) -> Pads:
    """The padding that leaves of an axis what one of the kernel's `size` taps sees."""
    return pads[0] - tap, pads[1] - (size - 1 - tap)


def _shift(x: Array, rows: Pads, columns: Pads, stride: int = 1) -> Array:
    """Pads, or crops where negative, then keeps every stride-th pixel."""
    # No interior padding, hence the zeros.
    config = ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), config)
    return lax.slice(x, (0, 0, 0, 0), x.shape, (1, stride, stride, 1))


def _product_per_tap(x: Array, kernel: Array) -> dict[tuple[int, int], Array]:
    """x times each of the kernel's taps, all from one product."""
    kh, kw, c, o = kernel.shape
    y = _product(x, kernel.transpose(2, 0, 1, 3).reshape(c, kh * kw * o))
    # lax.split rather than slices: its transpose is one concatenation, where theirs is
    # a sum of padded arrays.
    taps: Sequence[Array] = lax.split(y, (o,) * (kh * kw), axis=3)
    return dict(zip(itertools.product(range(kh), range(kw)), taps, strict=True))


def _product(x: Float[Array, "b h w f"], weight: Float[Array, "f o"]) -> Array:
    """x @ weight, arranged for the gradient with respect to weight.

    That gradient contracts over every pixel of the batch, and a long contraction with a
    small result is slow in XLA's CPU backend. With a copy of the weight for each of 8
    parts of x, autodiff makes 8 products that run beside each other, and their sum.
    """
    (b, h, w, f), parts = x.shape, 8
    # A symbolic batch size (jax.export) has no known divisors.
    divisible = isinstance(b, int) and b % parts == 0
    if not divisible or b * h * w < parts * max(weight.shape):
        return x @ weight
    weights = jnp.broadcast_to(weight, (parts, *weight.shape))
    y = jax.vmap(jnp.matmul)(x.reshape(parts, -1, f), weights)
    return y.reshape(b, h, w, -1)
