"""Normal distributions that are far narrower than float32's squares can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxae.ladder import Rung
from numpyro import distributions as dist
from numpyro.distributions import kl_divergence

from jaxae import distributions
from jaxae.bottlenecks.flow import FlowPosterior
from jaxae.bottlenecks.gaussian import Gaussian, diagonal_normal, standard_normal
from jaxae.distributions import Laplace, Normal
from jaxae.objectives.base import log_posterior, log_prior
from jaxae.objectives.elbo import kl_per_dimension, rate
from jaxae.types import Latent

# Squares of e^-44 are 0 in float32, and so is e^-90 itself.
LOG_STDS = np.array([-1e4, -90.0, -87.0, -60.0, -43.7, -43.6, -6.0, 0.0, 0.3, 40.0])
MEANS = np.linspace(-3.0, 3.0, len(LOG_STDS))


def _exact(mean, log_std, prior_mean, prior_log_std):
    """The KL divergence in float64, and its derivatives by the four arguments."""
    shift, log_ratio = mean - prior_mean, log_std - prior_log_std
    variance_ratio, by_mean = np.exp(2 * log_ratio), shift * np.exp(-2 * prior_log_std)
    squares = variance_ratio + shift * by_mean
    by_prior = 1 - squares
    value = 0.5 * (squares - 1) - log_ratio
    return value, (by_mean, variance_ratio - 1, -by_mean, by_prior)


def _row(values):
    """One dimension a value: [1, 1, d]."""
    return jnp.asarray(values, jnp.float32)[None, None]


@pytest.mark.parametrize("prior_log_std", [0.0, -2.0, 3.0])
def test_the_divergence_and_its_gradient_are_exact_at_any_scale(prior_log_std):
    """As `rate` and `kl_per_dimension` take them."""
    given = MEANS, LOG_STDS, np.ones_like(MEANS), np.full_like(MEANS, prior_log_std)

    @jax.jit
    def both(*arguments):
        mean, log_std, *prior = arguments
        q = Normal.from_log_scale(mean, log_std).to_event(1)
        latent = Latent(mean, mean[0], q, Normal.from_log_scale(*prior).to_event(1))
        total = rate(latent).sum()
        return total, kl_per_dimension(latent)

    gradient = jax.value_and_grad(both, argnums=(0, 1, 2, 3), has_aux=True)
    (total, each), found = jax.jit(gradient)(*map(_row, given))
    expected, slopes = _exact(*given)
    np.testing.assert_allclose(each[0, 0], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-6)
    for one, exact in zip(found, slopes, strict=True):
        np.testing.assert_allclose(one[0, 0], exact, rtol=1e-5, atol=1e-6)


def test_a_narrow_prior_has_the_right_gradient_too():
    """Of a divergence whose squares are near 1, while 1 / scale² is not."""
    log_std, shift = np.array([-45.0, -60.0, -79.0]), np.array([0.5, -1.0, 2.0])
    given = shift * np.exp(log_std), log_std + 0.2, np.zeros(3), log_std

    def total(mean, log_std, prior_mean, prior_log_std):
        q = Normal.from_log_scale(mean, log_std)
        p = Normal.from_log_scale(prior_mean, prior_log_std)
        return kl_divergence(q, p).sum()

    gradient = jax.jit(jax.value_and_grad(total, argnums=(1, 3)))
    value, found = gradient(*map(_row, given))
    expected, (_, by_log_std, _, by_prior) = _exact(*given)
    # float32 has logarithms of -79 to 4e-6, and so all that is relative to e^-79.
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(found[0][0, 0], by_log_std, rtol=2e-5)
    np.testing.assert_allclose(found[1][0, 0], by_prior, rtol=2e-5)


def test_a_scale_without_its_logarithm_will_do():
    """As long as float32 has it."""
    log_stds = LOG_STDS[LOG_STDS > -87.3]

    def total(log_std):
        q = diagonal_normal(jnp.zeros_like(log_std), jnp.exp(log_std))
        return kl_divergence(q, standard_normal(log_std.shape[-1])).sum()

    value, found = jax.jit(jax.value_and_grad(total))(_row(log_stds))
    expected, (_, slope, _, _) = _exact(0.0, log_stds, 0.0, 0.0)
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[0, 0], slope, rtol=1e-5, atol=1e-6)


def test_numpyros_own_normal_may_be_either_side():
    narrow = Normal(jnp.zeros(2), jnp.full(2, np.exp(-50.0), jnp.float32))
    other = dist.Normal(jnp.zeros(2), jnp.ones(2))
    np.testing.assert_allclose(kl_divergence(narrow, other), 49.5, rtol=1e-6)
    wide = Normal(jnp.ones(2), jnp.ones(2))
    found = kl_divergence(dist.Normal(0.0, 2.0), wide)
    np.testing.assert_allclose(found, 2.0 - np.log(2.0), rtol=1e-6)


@pytest.mark.parametrize("make", [Normal, Laplace])
def test_a_density_has_the_gradient_by_its_scale(make):
    log_scale, x = np.array([-80.0, -50.0, -45.0, 0.0]), np.array([2.0, 0.0, -1.5, 0.5])
    value = _row(x * np.exp(log_scale))

    def log_prob(log_scale):
        density = make(jnp.zeros_like(log_scale), jnp.exp(log_scale))
        return density.log_prob(value).sum()

    found = jax.jit(jax.grad(log_prob))(_row(log_scale))
    expected = x**2 - 1 if make is Normal else np.abs(x) - 1
    np.testing.assert_allclose(found[0, 0], expected, rtol=2e-5)


def test_the_logarithm_passes_through_transformations():
    normal = Normal.from_log_scale(_row(MEANS), _row(LOG_STDS))
    for passed in (
        jax.jit(lambda normal: normal)(normal),
        jax.lax.stop_gradient(normal),
        jax.vmap(lambda normal: normal)(normal),
    ):
        assert isinstance(passed, distributions.Normal)
        np.testing.assert_array_equal(passed.log_scale, normal.log_scale)
    without = jax.jit(lambda normal: normal)(Normal(_row(MEANS), _row(MEANS)))
    assert without.log_scale is None


def _encoded(module, log_std):
    """The codes of a bottleneck whose last layer puts out (0, log_std)."""
    h, key = jnp.zeros((2, 3)), jax.random.key(0)
    params = jax.tree.map(jnp.zeros_like, module.init(key, h, key)["params"])
    bias = jnp.concatenate([jnp.zeros(2), log_std[None].repeat(2)])
    return module.apply(
        {"params": {**params, "Dense_0": {**params["Dense_0"], "bias": bias}}}, h, key
    )


@pytest.mark.parametrize("log_std", [-43.7, -90.0])
def test_an_encoder_that_is_sure_is_charged_and_pulled_back(log_std):
    @jax.jit
    @jax.value_and_grad
    def closed(log_std):
        return rate(_encoded(Gaussian(2), log_std)).mean()

    value, slope = closed(jnp.float32(log_std))
    np.testing.assert_allclose(value, 2 * (-log_std - 0.5), rtol=1e-6)
    np.testing.assert_allclose(slope, -2.0, rtol=1e-6)

    @jax.jit
    @jax.value_and_grad
    def sampled(log_std):
        latent = _encoded(FlowPosterior(2, "planar", 1), log_std)
        return (log_posterior(latent) - log_prior(latent)).mean()

    # log q - log p at the mean of both, but for the noise ε in log q: -½ ε².
    value, slope = sampled(jnp.float32(log_std))
    assert -2 * log_std - 20 < value < -2 * log_std + 1e-3
    np.testing.assert_allclose(slope, -2.0, rtol=1e-5)


def test_a_rung_of_the_ladder_is_charged_and_pulled_back():
    rung = Rung(2, 1, 1, (2, 2), (-100.0, 100.0))

    @jax.jit
    @jax.value_and_grad
    def total(log_std):
        parameters = jnp.stack([jnp.zeros(()), log_std]).reshape(1, 1, 1, 2)
        prior = rung._normal(jnp.zeros((1, 1, 1, 2)), 1)
        return kl_divergence(rung._normal(parameters, 1), prior).sum()

    value, slope = total(jnp.float32(-90.0))
    np.testing.assert_allclose(value, 89.5, rtol=1e-6)
    np.testing.assert_allclose(slope, -1.0, rtol=1e-6)
