"""Means by weight and running means against repetition and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.averages import any_weight, running_mean, weighted_mean


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_whole_weights_are_repetition(shape):
    counts = np.asarray([2, 0, 1, 3])
    values = noise((4, *shape))
    found = weighted_mean(jnp.asarray(values), jnp.asarray(counts, jnp.float32))
    np.testing.assert_allclose(found, np.repeat(values, counts, 0).mean(0), rtol=1e-6)
    alike = weighted_mean(jnp.asarray(values))
    np.testing.assert_allclose(alike, values.mean(0), rtol=1e-6)


def test_what_has_no_weight_may_be_anything():
    values, weight = jnp.asarray([1.0, jnp.inf, 3.0]), jnp.asarray([1.0, 0.0, 1.0])
    value, slope = jax.value_and_grad(weighted_mean)(values, weight)
    assert value == 2.0
    np.testing.assert_array_equal(slope, [0.5, 0.0, 0.5])
    assert weighted_mean(values, jnp.zeros(3)) == 0.0
    assert bool(any_weight(None)) and bool(any_weight(weight))
    assert not bool(any_weight(jnp.zeros(3)))


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99])
def test_a_running_mean_weighs_batches_by_age_and_forgets_its_start(decay):
    batches = noise((30, 2))
    mean, mass = {"a": jnp.full(2, 1e6)}, jnp.zeros(())
    for n, batch in enumerate(batches, start=1):
        mean, mass = running_mean(mean, {"a": jnp.asarray(batch)}, mass, decay)
        share = decay ** np.arange(n)[::-1]
        expected = share @ batches[:n] / share.sum()
        np.testing.assert_allclose(mean["a"], expected, rtol=1e-4, atol=1e-6)


def test_a_batch_without_values_changes_nothing():
    old, mass = jnp.asarray(3.0), jnp.asarray(1.5)
    for known in (False, jnp.asarray(False)):
        assert running_mean(old, jnp.asarray(jnp.inf), mass, 0.9, known) == (old, mass)
