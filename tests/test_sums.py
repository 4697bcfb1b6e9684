"""Sums as products, against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    hessian = jax.hessian(lambda x: sum_last(x**2))(values[0])
    np.testing.assert_array_equal(hessian, 2.0 * np.eye(4))


# 8 divides the first event, 7 the second, and nothing the third.
@pytest.mark.parametrize("event", [(4, 4), (7, 1), (11,)])
def test_a_sum_of_bernoullis_is_that_of_its_terms(event):
    logits = 40.0 * jax.random.normal(jax.random.key(0), (3, 2, *event))
    x = jax.random.uniform(jax.random.key(1), (2, *event))
    axes = tuple(range(2, 2 + len(event)))

    def whole(x, logits):
        return Event(Bernoulli(logits), len(event), validate_args=False).log_prob(x)

    def parts(x, logits):
        return Bernoulli(logits).log_prob(x).sum(axis=axes)

    cotangent = jax.random.normal(jax.random.key(2), (3, 2))
    for function in (
        lambda f: f(x, logits),
        lambda f: jax.vjp(f, x, logits)[1](cotangent),
    ):
        for found, expected in zip(
            jax.tree.leaves(function(whole)),
            jax.tree.leaves(function(parts)),
            strict=True,
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for same in (0.0, x[:, :1], jnp.zeros(x.shape, jnp.int32)):
        spread = jnp.broadcast_to(jnp.asarray(same, x.dtype), x.shape)
        np.testing.assert_array_equal(whole(same, logits), whole(spread, logits))
    of_whole_numbers = jax.grad(lambda at: whole(jnp.ones(x.shape, int), at).sum())(
        logits
    )
    np.testing.assert_allclose(of_whole_numbers, jax.nn.sigmoid(-logits), atol=1e-6)
