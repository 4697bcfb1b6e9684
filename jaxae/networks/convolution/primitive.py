"""The one linear map behind convolutions, as three operations that close on themselves.

With stride s, padding (top, left), images x, a kernel and the result y:

    y[b, m, n, o] = Σ_ijc x[b, s m + i - top, s n + j - left, c] kernel[i, j, c, o]

is linear in x and in the kernel. Contracted with a third array of y's shape it is one
sum over products of the three, and whatever is needed of convolutions is the derivative
of that sum by one of them: "y", the convolution; "x", its gradient for the images or a
transposed convolution; "kernel", its gradient for the kernel. So the derivatives of
each of the three, of any order and mode, are the other two: they are one JAX primitive,
and no derivative falls back on a convolution that the CPU is slow at.

On the CPU the forms that `cpu.py` chooses are used, on other platforms XLA's own
convolution; which is decided when a program is lowered.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from jaxae.networks.convolution.cpu import find_kernel, find_x, find_y
from jaxae.networks.convolution.forms import canonical
from jaxae.networks.convolution.geometry import Geometry
from jaxae.networks.convolution.varying import vary_alike

OPERANDS = {"y": ("x", "kernel"), "x": ("y", "kernel"), "kernel": ("x", "y")}
"""What each of the three is computed from."""


def correlate(find: str, a: Array, b: Array, geometry: Geometry) -> Array:
    """Finds "y", "x" or "kernel" from the other two, in the order of `OPERANDS`.

    Args:
        find: Which one.
        a: x [b, h, w, c], or y [b, m, n, o] where x is found.
        b: The kernel [kh, kw, c, o], or y where the kernel is found.
        geometry: The stride and the sizes, which `a` and `b` have to fit; whether the
            kernel is [kh, kw, o, c] instead.
    """
    return _correlation.bind(*vary_alike(a, b), find=find, geometry=geometry)


_correlation = Primitive("jaxae_correlation")


@functools.partial(jax.jit, static_argnames=("find", "geometry"))
def _compiled(a: Array, b: Array, *, find: str, geometry: Geometry) -> Array:
    return _correlation.bind(a, b, find=find, geometry=geometry)


@_correlation.def_impl
def _run(a: Array, b: Array, *, find: str, geometry: Geometry) -> Array:
    with jax.disable_jit(False):  # or it would lead back here without an end
        return _compiled(a, b, find=find, geometry=geometry)


@_correlation.def_abstract_eval
def _result(a: Any, b: Any, *, find: str, geometry: Geometry) -> Any:
    return a.update(shape=_shape(a, b, find, geometry), weak_type=False)


def _shape(a: Any, b: Any, find: str, geometry: Geometry) -> tuple[Any, ...]:
    if find == "kernel":
        channels = a.shape[3], b.shape[3]
        return *geometry.kernel, *(channels[::-1] if geometry.swapped else channels)
    size = geometry.reduced if find == "y" else geometry.image
    return a.shape[0], *size, b.shape[2 if (find == "x") != geometry.swapped else 3]


def _cotangent(position: int) -> Callable[..., Array]:
    """The rule for one operand: it is what is found from the others."""

    def rule(result: Array, *operands: Any, find: str, geometry: Geometry) -> Array:
        names = OPERANDS[find]
        lost, kept = names[position], names[1 - position]
        known = {find: result, kept: operands[1 - position]}
        a, b = (known[name] for name in OPERANDS[lost])
        return correlate(lost, a, b, geometry)

    return rule


ad.defbilinear(_correlation, _cotangent(0), _cotangent(1))


def _vmap(
    operands: Sequence[Array],
    axes: Sequence[int | None],
    *,
    find: str,
    geometry: Geometry,
) -> tuple[Array, int]:
    """Further axes of images are part of the batch; kernels take turns on the CPU."""
    a, b = (
        x if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    )

    def find_one(a: Array, b: Array) -> Array:
        return correlate(find, a, b, geometry)

    if find != "kernel" and axes[1] is None:
        result = find_one(a.reshape(-1, *a.shape[2:]), b)
        return result.reshape(*a.shape[:2], *result.shape[1:]), 0

    def in_turn(a: Array, b: Array) -> Array:
        mapped = [x for x, axis in zip((a, b), axes, strict=True) if axis is not None]

        def one(mapped: list[Array]) -> Array:
            rest = iter(mapped)
            pair = zip((a, b), axes, strict=True)
            return find_one(*(x if axis is None else next(rest) for x, axis in pair))

        return lax.map(one, mapped)

    at_once = jax.vmap(
        functools.partial(_native, find=find, geometry=geometry),
        [axis if axis is None else 0 for axis in axes],
    )
    return lax.platform_dependent(a, b, cpu=in_turn, default=at_once), 0


batching.primitive_batchers[_correlation] = _vmap


def _native(a: Array, b: Array, *, find: str, geometry: Geometry) -> Array:
    """By XLA's convolution and what JAX derives from it."""

    def convolve(x: Array, kernel: Array) -> Array:
        kernel, pads = geometry.plain(kernel), (geometry.rows, geometry.columns)
        return canonical(x, kernel, geometry.stride, *pads)

    if find == "y":
        return convolve(a, b)
    # Under a shard_map as different from device to device as `a` is: else the rule
    # would sum over devices.
    found = _result(jax.typeof(a), b, find=find, geometry=geometry)
    if find == "x":
        return jax.linear_transpose(lambda x: convolve(x, b), found)(a)[0]
    return jax.linear_transpose(lambda kernel: convolve(a, kernel), found)(b)[0]


def _on_cpu(a: Array, b: Array, *, find: str, geometry: Geometry) -> Array:
    """Rounds narrower types once, at the end, as XLA's own convolution does.

    Sums of bfloat16 products were off by 3% of the largest gradient (JAX 0.12).
    """
    wide = jnp.float32 if jnp.finfo(a.dtype).bits < 32 else a.dtype
    a, b, narrow = a.astype(wide), b.astype(wide), a.dtype
    if not list(geometry.meetings):  # nothing but padding is seen
        return jnp.zeros(_shape(a, b, find, geometry), narrow)
    # Taps that see nothing but zeros: many, where the image is as small as the kernel.
    live, cropped = geometry.live, geometry.crop(*geometry.live)
    if find == "kernel":
        found = find_kernel(a, b, cropped).astype(narrow)
        pads = [
            (taps.start, size - taps.stop)
            for taps, size in zip(live, geometry.kernel, strict=True)
        ]
        return jnp.pad(found, (*pads, (0, 0), (0, 0)))
    form = find_y if find == "y" else find_x
    return form(a, b[live], cropped).astype(narrow)


mlir.register_lowering(_correlation, mlir.lower_fun(_native, multiple_results=False))
mlir.register_lowering(
    _correlation, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu"
)
