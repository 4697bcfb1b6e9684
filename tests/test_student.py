"""Student's t as likelihood and posterior, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxae
from jaxae import bottlenecks, likelihoods, networks, objectives, recipes
from jaxae.distributions.student import StudentT

KEY = jax.random.key(0)
DF = np.array([0.1, 1.0, 3.0, 7.5, 100.0, 1e6], np.float32)[:, None]
X = np.array([-50.0, -1.0, 0.0, 0.3, 4.0, 1e4], np.float32)[None]


def test_density_and_its_slopes():
    def log_prob(df, loc, scale):
        return StudentT(df, loc, scale).log_prob(jnp.asarray(X))

    loc, scale = jnp.full((1, 1), 0.5), jnp.full((1, 1), 2.0)
    found = jax.jit(log_prob)(jnp.asarray(DF), loc, scale)
    expected = scipy.stats.t(np.float64(DF), 0.5, 2.0).logpdf(np.float64(X))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
    slope = jax.jit(jax.grad(lambda df: log_prob(df, loc, scale).sum()))
    step = 1e-4 * np.float64(DF)
    higher, lower = (
        scipy.stats.t(np.float64(DF) + s, 0.5, 2.0).logpdf(np.float64(X)).sum(axis=1)
        for s in (step, -step)
    )
    by_differences = ((higher - lower) / (2 * step[:, 0]))[:5]
    found = np.asarray(slope(jnp.asarray(DF)))[:5, 0]
    np.testing.assert_allclose(found, by_differences, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("df", [3.0, 8.0])
def test_samples_have_the_distribution(df):
    draws = StudentT(jnp.float32(df), jnp.float32(0.5), jnp.float32(2.0))
    found = np.asarray(jax.jit(lambda key: draws.sample(key, (20_000,)))(KEY))
    test = scipy.stats.kstest(found, scipy.stats.t(df, 0.5, 2.0).cdf)
    assert test.pvalue > 0.01


def test_a_sample_follows_its_degrees_of_freedom():
    """d E[t²] / d df, with E[t²] = df / (df - 2): gradients pass through the draw."""

    def square(df):
        draws = StudentT(df, jnp.float32(0.0), jnp.float32(1.0))
        return jnp.square(draws.sample(KEY, (400_000,))).mean()

    value, slope = jax.jit(jax.value_and_grad(square))(jnp.float32(10.0))
    np.testing.assert_allclose(value, 10 / 8, rtol=0.01)
    np.testing.assert_allclose(slope, -2 / 8**2, rtol=0.2)  # a few standard errors


def test_it_trains_as_posterior_and_likelihood():
    network = networks.FullyConnected((8,))
    module = recipes.compose_model(
        (4,), network, bottlenecks.StudentT(2), likelihoods.StudentT()
    )
    recipe = recipes.compose_recipe(module, objectives.IWAE(), num_samples=3)
    x = np.random.default_rng(0).standard_t(3, (40, 4)).astype(np.float32)
    fitted = jaxae.fit(recipe, x, key=KEY, epochs=30, batch_size=40, progress=False)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert eval(repr(recipe), vars(jaxae)) == recipe
    nll = jaxae.evaluation.nll_nats(fitted.model, x, KEY, num_samples=20)
    assert np.isfinite(nll).all()
