"""Sums as products, against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.sums import sum_last


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 784), (2, 3, 0), (2, 3, 50)])
def test_the_last_axis_is_summed(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    total = jax.jit(sum_last)(values)
    np.testing.assert_allclose(total, np.float64(values).sum(-1), atol=1e-4)


def test_derivatives_and_vmap_are_those_of_a_sum():
    values = jnp.arange(12.0).reshape(3, 4)
    gradient = jax.jit(jax.vmap(jax.grad(lambda x: sum_last(x**2))))(values)
    np.testing.assert_array_equal(gradient, 2.0 * values)
    hessian = jax.hessian(lambda x: sum_last(x**2))(values[0])
    np.testing.assert_array_equal(hessian, 2.0 * np.eye(4))
