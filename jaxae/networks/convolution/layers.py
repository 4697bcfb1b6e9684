"""Convolutions of images, transposed ones, pooling, and the layers made of them.

They are as fast on the CPU as elsewhere, see `primitive.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from jaxae.errors import ArgumentError, ensure, require
from jaxae.networks.convolution.geometry import Geometry, Pads
from jaxae.networks.convolution.primitive import correlate
from jaxae.precision import spread
from jaxae.values import Module

Padding = str | Sequence[Sequence[int]]


def conv(
    x: Float[Array, "..."],
    kernel: Float[Array, "..."],
    stride: int = 1,
    padding: Padding = "SAME",
) -> Float[Array, "b _h _w o"]:
    """Convolution, equal to `flax.linen.Conv`'s.

    Args:
        x: Images [b, h, w, c].
        kernel: [kh, kw, c, o], of x's dtype.
        stride: In pixels, the same in both directions.
        padding: "SAME", or ((above, below), (left, right)): rows and columns of zeros
            around the image; where negative, it is cropped.

    Returns:
        [b, ceil(h / stride), ceil(w / stride), o] for "SAME", else with
        (h + above + below - kh) // stride + 1 rows, and likewise columns.

    Raises:
        ValueError: A shape, a dtype, the stride or the padding is not as stated.
    """
    _check(x, kernel, stride)
    (_, h, w, _), (kh, kw) = x.shape, kernel.shape[:2]
    if padding == "SAME":
        rows, columns = lax.padtype_to_pads((h, w), (kh, kw), (stride, stride), "SAME")
    else:
        rows, columns = _pairs(padding)
    geometry = Geometry(stride, rows, columns, (h, w), (kh, kw))
    _check_result(padding, geometry.reduced)
    return correlate("y", x, kernel, geometry)


def conv_transpose(
    x: Float[Array, "..."],
    kernel: Float[Array, "..."],
    stride: int = 1,
    padding: Padding = "SAME",
) -> Float[Array, "b _h _w o"]:
    """Transposed convolution, equal to `flax.linen.ConvTranspose`'s.

    As there, the kernel is not mirrored: this is a convolution of x with stride - 1
    zeros between its pixels.

    Args:
        x: Images [b, h, w, c].
        kernel: [kh, kw, c, o], of x's dtype.
        stride: In pixels of the result, the same in both directions.
        padding: "SAME", or ((above, below), (left, right)): rows and columns of zeros
            around the image with the zeros between its pixels.

    Returns:
        [b, h * stride, w * stride, o] for "SAME", else with
        (h - 1) * stride + above + below - kh + 2 rows, and likewise columns.

    Raises:
        ValueError: A shape, a dtype, the stride or the padding is not as stated.
    """
    _check(x, kernel, stride)
    if padding == "SAME":
        rows, columns = (_same(taps, stride) for taps in kernel.shape[:2])
    else:
        rows, columns = _pairs(padding)
    # The gradient, for its images, of a convolution with the mirrored kernel.
    (_, h, w, _), (kh, kw) = x.shape, kernel.shape[:2]
    image = (
        (h - 1) * stride + sum(rows) - kh + 2,
        (w - 1) * stride + sum(columns) - kw + 2,
    )
    _check_result(padding, image)
    rows = (kh - 1 - rows[0], kh - 1 - rows[1])
    columns = (kw - 1 - columns[0], kw - 1 - columns[1])
    geometry = Geometry(stride, rows, columns, image, (kh, kw), swapped=True)
    return correlate("x", x, kernel[::-1, ::-1], geometry)


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


class Conv(Module):
    """`conv` with parameters: `flax.linen.Conv` for images, names and shapes included.

    Attributes:
        features: Output channels.
        kernel_size: Side of the kernel, in pixels.
        stride: In pixels.
        padding: As for `conv`.
        use_bias: Add a bias per output channel, zero at first.
        kernel_init: Initialiser of the kernel.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "b _h _w o"]:
        return _apply_layer(self, conv, x)


class ConvTranspose(Module):
    """`conv_transpose` with parameters: `flax.linen.ConvTranspose` for images.

    Attributes:
        features: Output channels.
        kernel_size: Side of the kernel, in pixels.
        stride: In pixels of the result.
        padding: As for `conv_transpose`.
        use_bias: Add a bias per output channel, zero at first.
        kernel_init: Initialiser of the kernel.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "b _h _w o"]:
        return _apply_layer(self, conv_transpose, x)


def _apply_layer(
    layer: Conv | ConvTranspose, op: Callable[..., Array], x: Array
) -> Array:
    require(x.ndim == 4, "x", x.shape, "[batch, height, width, channels]")
    shape = (layer.kernel_size, layer.kernel_size, x.shape[-1], layer.features)
    kernel = layer.param("kernel", layer.kernel_init, shape, jnp.float32)
    x, kernel = promote_dtype(x, kernel, dtype=layer.dtype)
    y = op(x, kernel, layer.stride, layer.padding)
    if not layer.use_bias:
        return y
    zeros = nn.initializers.zeros
    bias = layer.param("bias", zeros, (layer.features,), jnp.float32)
    return y + spread(bias, y)


def _check(x: Array, kernel: Array, stride: int) -> None:
    require(x.ndim == 4, "x", x.shape, "[batch, height, width, channels]")
    require(
        kernel.ndim == 4 and kernel.shape[2] == x.shape[3],
        "kernel",
        kernel.shape,
        f"[kernel height, kernel width, {x.shape[3]}, features] for x of {x.shape}",
    )
    alike = x.dtype == kernel.dtype and jnp.issubdtype(x.dtype, jnp.floating)
    kinds = f"{x.dtype} and {kernel.dtype}"
    ensure(alike, f"dtype of x and kernel must be one kind of floats, got {kinds}")
    require(stride >= 1, "stride", stride, "at least 1")


def _pairs(padding: Any) -> tuple[Pads, Pads]:
    try:
        (above, below), (left, right) = padding
        return (above, below), (left, right)
    except (TypeError, ValueError):
        expected = '"SAME" or ((above, below), (left, right))'
        raise ArgumentError(f"padding must be {expected}, got {padding!r}") from None


def _check_result(padding: Padding, sides: tuple[int, int]) -> None:
    ensure(
        min(sides) >= 1,
        f"padding must leave a result of at least one pixel, got {padding}, "
        f"which makes sides of {sides}",
    )


def _same(taps: int, stride: int) -> Pads:
    """The zeros on either side that make a result `stride` times as long."""
    whole = taps + stride - 2
    before = taps - 1 if stride > taps - 1 else -(-whole // 2)  # as lax splits them
    return before, whole - before
