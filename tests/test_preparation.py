import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.preparation import binarize, unit_interval

draw = jax.jit(binarize)


def test_bytes_become_levels_and_floats_stay():
    key = jax.random.key(0)
    levels = jnp.asarray(np.arange(256, dtype=np.uint8))
    np.testing.assert_allclose(unit_interval(key, levels), np.arange(256) / 255)
    x = jnp.asarray(np.float32([-1.0, 0.3, 7.0]))
    assert unit_interval(key, x) is x


@pytest.mark.parametrize("shape", [(4000, 7, 2, 3), (8000, 5), (80000, 1)])
def test_binarize_draws_with_the_intensity_as_probability(shape):
    """Every pixel of the second axis, in either half of its word, on its own."""
    levels = np.linspace(0, 255, np.prod(shape[1:])).round().astype(np.uint8)
    p = levels.reshape(shape[1:]) / 255
    stored = jnp.asarray(np.broadcast_to(levels.reshape(shape[1:]), shape))
    drawn = np.asarray(draw(jax.random.key(1), stored))
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    standard_error = np.sqrt(p * (1 - p) / shape[0]) + 1e-12
    assert np.all(np.abs(drawn.mean(axis=0) - p) < 5 * standard_error)


def test_black_and_white_are_certain():
    x = np.tile(np.float32([[0.0, 1.0]]), (100_000, 1))
    np.testing.assert_array_equal(draw(jax.random.key(2), x), x)


def test_pixels_are_independent():
    x = np.full((20_000, 6), 0.5, np.float32)
    correlation = np.corrcoef(np.asarray(draw(jax.random.key(3), x)).T)
    # Under independence an entry has a standard deviation of 1 / sqrt(20,000) = .007.
    assert np.abs(correlation - np.eye(6)).max() < 0.035
