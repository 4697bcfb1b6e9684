"""The maximum mean discrepancy against sums over pairs, and its recipes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import fit, networks, recipes
from jaxae.bottlenecks.matched import Matched
from jaxae.errors import ArgumentError
from jaxae.objectives.mmd import (
    MMD,
    inverse_multiquadratic,
    rbf,
    squared_distances,
    unbiased_mmd,
)
from jaxae.recipes.divergence import info_vae_mmd, wae_mmd
from jaxae.training import init_state, make_train_step
from jaxae.types import Context, Latent, Trace

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3)).astype(np.float32)
Y = (1 + RNG.normal(size=(6, 3))).astype(np.float32)
SCALES = (0.1, 0.2, 0.5, 1, 2, 5, 10)


def _imq(a, b, sigma):
    squared = float(((np.float64(a) - b) ** 2).sum())
    constants = [s * 2 * len(a) * sigma**2 for s in SCALES]
    return sum(c / (c + squared) for c in constants)


def _rbf(a, b, sigma):
    squared = float(((np.float64(a) - b) ** 2).sum())
    return np.exp(-squared / (2 * len(a) * sigma**2))


def _by_pairs(x, y, k, weight=None):
    w = np.ones(len(x)) if weight is None else weight
    xx = [(w[i] * w[j], k(x[i], x[j])) for i in range(5) for j in range(5) if i != j]
    yy = [k(y[i], y[j]) for i in range(6) for j in range(6) if i != j]
    xy = [(w[i], k(x[i], y[j])) for i in range(5) for j in range(6)]
    mean = lambda pairs: sum(a * b for a, b in pairs) / sum(a for a, _ in pairs)  # noqa: E731
    return mean(xx) + np.mean(yy) - 2 * mean(xy)


@pytest.mark.parametrize(
    ("make", "by_hand"), [(inverse_multiquadratic, _imq), (rbf, _rbf)]
)
@pytest.mark.parametrize("weight", [None, (1.0, 0.0, 2.0, 0.5, 1.0)])
def test_is_the_sum_over_pairs(make, by_hand, weight):
    expected = _by_pairs(X, Y, lambda a, b: by_hand(a, b, 0.7), weight)
    weight = None if weight is None else np.float32(weight)
    kernel = make(3, 0.7)
    estimate = jax.jit(lambda x, y, weight: unbiased_mmd(x, y, kernel, weight))
    value = estimate(X, Y, weight)
    assert float(value) == pytest.approx(expected, abs=1e-5)


def test_distances_do_not_depend_on_a_common_offset():
    x, y = X + np.float32(1000), Y + np.float32(1000)
    exact = ((np.float64(x)[:, None] - np.float64(y)) ** 2).sum(axis=-1)

    @jax.jit
    def with_gradients(x, y):
        found, pull = jax.vjp(squared_distances, x, y)
        return found, *pull(jnp.ones_like(found))

    found, to_x, to_y = with_gradients(x, y)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    expected = 2 * (np.float64(x)[:, None] - np.float64(y))
    np.testing.assert_allclose(to_x, expected.sum(axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_y, -expected.sum(axis=0), rtol=1e-5, atol=1e-5)


def test_mean_is_zero_for_equal_distributions_alone():
    x, y = np.float32(np.random.default_rng(2).normal(size=(2, 2000, 8, 2)))
    estimate = jax.jit(jax.vmap(lambda x, y: unbiased_mmd(x, y, rbf(2))))
    equal = np.asarray(estimate(x, y))
    error = equal.std() / np.sqrt(equal.size)
    assert abs(equal.mean()) < 4 * error
    assert equal.min() < 0
    assert np.asarray(estimate(x + np.float32(1.0), y)).mean() > 20 * error


def test_single_points_are_finite():
    x, kernel = np.ones((1, 3), np.float32), rbf(3)
    both = jax.jit(jax.value_and_grad(lambda x, y: unbiased_mmd(x, y, kernel)))
    value, grad = both(x, x + np.float32(1.0))
    assert np.isfinite(value) and np.isfinite(grad).all()


@pytest.mark.slow
def test_gradient_pulls_codes_to_the_prior():
    """Codes that are all too large have less MMD if they shrink together."""
    z = 3.0 + 0.1 * jax.random.normal(jax.random.key(0), (1, 64, 2))

    def value(z):
        context = Context(jax.random.key(1), jnp.asarray(0), {}, {}, None, None)
        trace = Trace(z[0], z[0], None, None, (Latent(z, z[0]),))
        return MMD(1.0).loss({}, trace, context)[0].mean()

    grad = jax.grad(value)(z)
    assert np.asarray(grad.sum(axis=(0, 1))).min() > 0.1
    assert value(z - 1.0) < value(z)


@pytest.mark.parametrize("make", [wae_mmd, info_vae_mmd])
@pytest.mark.slow
def test_trains(make):
    recipe = make((2, 2, 1), 3, network=networks.FullyConnected((4,)))
    images = RNG.random((20, 2, 2, 1)).astype(np.float32)
    result = fit(
        recipe, images, key=jax.random.key(0), epochs=7, batch_size=8, progress=False
    )
    assert int(result.state.step) == 21
    assert all(np.isfinite(list(row.values())).all() for row in result.history)
    assert "mmd" in result.history[0]
    assert result.history[-1]["skipped_steps"] == 0


def test_matched_codes_come_from_the_prior():
    recipe = wae_mmd((2, 2, 1), 3, network=networks.FullyConnected((4,)))
    assert recipe.module.has_prior and not recipe.module.generative
    h, key = np.ones((4, 5), np.float32), jax.random.key(0)
    latent, _ = jax.jit(Matched(3).init_with_output)(key, h, jax.random.key(1))
    assert latent.posterior is None and latent.prior.batch_shape == (1, 1)
    np.testing.assert_array_equal(latent.z[0], latent.mean)
    draws = jax.jit(lambda key: latent.prior.sample(key, (4000,)))(key)
    assert np.asarray(draws)[:, 0, 0].std(axis=0) == pytest.approx(np.ones(3), abs=0.05)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("weight", lambda: MMD(-1.0)),
        ("kernel", lambda: MMD(kernel="linear")),
        ("bandwidth", lambda: MMD(bandwidth=0.0)),
        ("alpha", lambda: info_vae_mmd((2, 2, 1), alpha=1.5)),
        ("latent_dim", lambda: Matched(0)),
    ],
)
def test_bad_arguments_are_named(name, make):
    # Types are checked in tests alone, and the kernel's before its name.
    with pytest.raises(Exception) as caught:
        make()
    assert name in str(caught.value)
    if name != "kernel":
        assert isinstance(caught.value, ArgumentError)


def test_models_with_several_latents_are_refused():
    recipe = recipes.ladder_vae((4, 4, 1), 1, channels=(2, 2), stem=0)
    recipe = recipe.replace(objective=MMD())
    batch, key = {"x": jnp.zeros((2, 4, 4, 1))}, jax.random.key(0)
    init = partial(init_state, recipe, optax.sgd(1.0))
    state = jax.eval_shape(init, batch, key)
    step = make_train_step(recipe, optax.sgd(1.0))
    with pytest.raises(ValueError, match="for models with one latent, not 2"):
        jax.eval_shape(step, state, batch)
