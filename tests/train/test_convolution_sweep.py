"""Ours against XLA's own convolutions, over the shapes of the benchmark's sweep."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.benchmark.convolutions import layers, shapes

SWEEP = list(shapes())


def check(shape, dtype, tolerance):
    """The result and both gradients, to `tolerance` of the largest entry of each."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, shape.side, shape.side, shape.c), dtype)
    sides = (shape.kernel, shape.kernel, shape.c, shape.o)
    kernel = jax.random.normal(keys[1], sides, dtype)
    ours, native = layers(shape)
    result = jax.eval_shape(native, x, kernel)
    cotangent = jax.random.normal(keys[2], result.shape, dtype)

    def everything(layer):
        y, back = jax.vjp(layer, x, kernel)
        return y, *back(cotangent)

    names = ("forward", "images", "kernel")
    pairs = zip(
        names, *map(jax.jit(everything, static_argnums=0), (ours, native)), strict=True
    )
    for name, found, expected in pairs:
        assert found.dtype == expected.dtype == dtype
        found, expected = np.float32(found), np.float32(expected)
        atol = tolerance * max(1e-3, np.abs(expected).max(initial=0))
        words = f"{name} of {shape}"
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=words)


# Sums of up to 25,600 products in another order, at 6e-8 each, of the largest entry;
# both sides round once to 8 bits in bfloat16, XLA's gradients sum in float32 as well.
@pytest.mark.parametrize(
    ("dtype", "every"), [(jnp.float32, 67), (jnp.bfloat16, 199)], ids=["f32", "bf16"]
)
def test_a_part_of_the_sweep(dtype, every):
    small = [shape for shape in SWEEP if shape.c * shape.o <= 128 * 128]
    for shape in itertools.islice(small, 0, None, every):
        check(shape, dtype, 1e-5 if dtype == jnp.float32 else 8e-3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("part", range(10))
def test_the_whole_sweep(part, dtype):
    for shape in SWEEP[part::10]:
        check(shape, dtype, 1e-5 if dtype == jnp.float32 else 8e-3)
