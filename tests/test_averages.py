"""Means by weight and running means against repetition and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.averages import any_weight, running_mean, weighted_mean

mean = jax.jit(weighted_mean)


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_whole_weights_are_repetition(shape):
    counts = np.asarray([2, 0, 1, 3])
    values = noise((4, *shape))
    found = mean(values, counts.astype(np.float32))
    np.testing.assert_allclose(found, np.repeat(values, counts, 0).mean(0), rtol=1e-6)
    alike = mean(values, None)
    np.testing.assert_allclose(alike, values.mean(0), rtol=1e-6)


def test_what_has_no_weight_may_be_anything():
    values, weight = np.float32([1.0, np.inf, 3.0]), np.float32([1.0, 0.0, 1.0])
    value, slope = jax.jit(jax.value_and_grad(weighted_mean))(values, weight)
    assert value == 2.0
    np.testing.assert_array_equal(slope, [0.5, 0.0, 0.5])
    zeros, some = np.zeros(3, np.float32), jax.jit(any_weight)
    assert mean(values, zeros) == 0.0
    assert bool(some(None)) and bool(some(weight))
    assert not bool(some(zeros))


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99])
def test_a_running_mean_weighs_batches_by_age_and_forgets_its_start(decay):
    batches, step = noise((30, 2)), jax.jit(running_mean, static_argnums=3)
    mean, mass = {"a": np.full(2, 1e6, np.float32)}, np.float32(0.0)
    for n, batch in enumerate(batches, start=1):
        mean, mass = step(mean, {"a": batch}, mass, decay)
        share = decay ** np.arange(n)[::-1]
        expected = share @ batches[:n] / share.sum()
        np.testing.assert_allclose(mean["a"], expected, rtol=1e-4, atol=1e-6)


def test_a_batch_without_values_changes_nothing():
    old, mass = jnp.asarray(3.0), jnp.asarray(1.5)
    for known in (False, jnp.asarray(False)):
        assert running_mean(old, jnp.asarray(jnp.inf), mass, 0.9, known) == (old, mass)
