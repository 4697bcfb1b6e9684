"""Sums as products, against NumPy's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxae.distributions.elementwise import Bernoulli, Event
from jaxae.distributions.sums import sum_last


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 784), (2, 3, 0), (2, 3, 50)])
def test_the_last_axis_is_summed(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    total = jax.jit(sum_last)(values)
    np.testing.assert_allclose(total, np.float64(values).sum(-1), atol=1e-4)


def test_derivatives_and_vmap_are_those_of_a_sum():
    values = jnp.arange(12.0).reshape(3, 4)
    gradient = jax.jit(jax.vmap(jax.grad(lambda x: sum_last(x**2))))(values)
    np.testing.assert_array_equal(gradient, 2.0 * values)
    hessian = jax.jit(jax.hessian(lambda x: sum_last(x**2)))(values[0])
    np.testing.assert_array_equal(hessian, 2.0 * np.eye(4))


# 8 divides the first event, 7 the second, and nothing the third.
@pytest.mark.parametrize("event", [(4, 4), (7, 1), (11,)])
def test_a_sum_of_bernoullis_is_that_of_its_terms(event):
    rng = np.random.default_rng(0)
    logits = np.float32(rng.normal(0.0, 40.0, (3, 2, *event)))
    x, cotangent = (
        np.float32(rng.random((2, *event))),
        np.float32(rng.normal(size=(3, 2))),
    )
    axes = tuple(range(2, 2 + len(event)))

    def whole(x, logits):
        return Event(Bernoulli(logits), len(event), validate_args=False).log_prob(x)

    def parts(x, logits):
        return Bernoulli(logits).log_prob(x).sum(axis=axes)

    @partial(jax.jit, static_argnums=0)
    def results(function, x, logits):
        return function(x, logits), jax.vjp(function, x, logits)[1](cotangent)

    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, results(whole, x, logits), results(parts, x, logits))
    for same in (0.0, jnp.asarray(x[:, :1]), jnp.asarray(np.zeros(x.shape, np.int32))):
        found = jax.jit(lambda logits, same=same: whole(same, logits))(logits)
        spread = np.broadcast_to(np.asarray(same, x.dtype), x.shape)
        np.testing.assert_array_equal(found, jax.jit(whole)(spread, logits))
    slope = jax.grad(lambda at: whole(jnp.ones(x.shape, int), at).sum())
    expected = scipy.special.expit(-logits)
    np.testing.assert_allclose(jax.jit(slope)(logits), expected, atol=1e-6)
