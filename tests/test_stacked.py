"""Codes of codes: where all is linear and Gaussian, every density is known."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.stats import multivariate_normal

import jaxae
from jaxae import bottlenecks, likelihoods, networks, objectives, recipes, views
from jaxae.models.family import call
from jaxae.objectives.elbo import kl_per_dimension, rate
from jaxae.objectives.importance import log_weights

D, COUNT = 3, 5
X = np.random.default_rng(0).normal(size=(COUNT, D)).astype(np.float32)
LINEAR = networks.FullyConnected(())


def layer(size: int = D, likelihood=None) -> jaxae.AutoEncoder:
    likelihood = likelihood or likelihoods.Gaussian(1.0)
    bottleneck = bottlenecks.Gaussian(D)
    return recipes.compose_model((size,), LINEAR, bottleneck, likelihood)


@cache
def exact(layers: int, off: float = 0.0) -> jaxae.Model:
    """z_1 ~ N(0, I), each next and x at last ~ N(the one above, I).

    A code that has a variance of v before what is below it is seen has, after, a mean
    of v / (v + 1) times that, and this variance. `off` is added to all such means.
    """
    module = layer()
    for _ in range(layers - 1):
        module = jaxae.Stacked(layer(), module)
    recipe = recipes.compose_recipe(module, objectives.ELBO())
    model = jaxae.init(recipe, jax.random.key(0))
    eye = jnp.eye(D)

    def of_layer(variance: int) -> dict:
        share = variance / (variance + 1)
        kernel = jnp.concatenate([share * eye, jnp.zeros((D, D))], axis=1)
        bias = jnp.repeat(jnp.asarray([off, 0.5 * np.log(share)]), D)
        own = {"Dense_0": {"kernel": kernel, "bias": bias}}
        return {"bottleneck": own, "decoder": {"Dense_0": _identity()}}

    params = of_layer(1)
    for variance in range(2, layers + 1):
        params = {"lower": of_layer(variance), "upper": params}
    shapes = jax.tree.map(jnp.shape, model.variables["params"])
    assert jax.tree.map(jnp.shape, params) == shapes
    return model.replace(variables={"params": params})


def _identity() -> dict:
    return {"kernel": jnp.eye(D), "bias": jnp.zeros(D)}


def traced(model: jaxae.Model, key: int, num_samples: int = 1):
    x = jnp.asarray(X)

    @jax.jit
    def run(variables, key):
        batch = {"x": x, "inputs": x}
        trace = call(model.module, variables, batch, key, num_samples=num_samples)
        rates = [rate(latent) for latent in trace.latents]
        codes = [latent.z for latent in trace.latents]
        last = trace.latents[-1]
        density = last.prior.log_prob(last.z)
        return log_weights(trace), rates, codes, last.log_posterior - density

    return run(model.variables, jax.random.key(key))


def log_density(x, variance: float):
    return multivariate_normal(np.zeros(D), variance * np.eye(D)).logpdf(x)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("num_samples", [1, 4])
def test_every_weight_is_the_density_where_inference_is_exact(layers, num_samples):
    weights, _, codes, _ = traced(exact(layers), 1, num_samples)
    expected = np.tile(log_density(X, layers + 1), (num_samples, 1))
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    assert [z.shape for z in codes] == layers * [(num_samples, COUNT, D)]
    drawn = np.concatenate([np.asarray(z).reshape(-1) for z in codes])
    assert len(np.unique(drawn)) == drawn.size  # noise of its own for each


def test_the_rate_of_the_lowest_code_is_taken_with_those_above():
    """Its divergence in closed form would take them for independent of it."""
    _, rates, _, difference = traced(exact(2, off=0.3), 2, num_samples=6)
    np.testing.assert_allclose(rates[-1], difference.mean(axis=0), rtol=1e-5)


def test_the_bound_is_below_the_density_by_what_inference_is_off():
    """KL between the two joint posteriors, both Gaussian: Σ off² / (2 variance)."""
    off, runs = 0.3, 4000
    model = exact(2, off)
    key = jax.random.key(3)
    terms = jaxae.evaluation.elbo_terms(model, X, key, num_samples=runs)
    # Of z by 2/3 of variance; and of z_above given z by 1/2, itself off, from either.
    gap = D * off**2 / 2 * (1 / (2 / 3) + 1 / (1 / 2))
    each = log_density(X, 3) - terms["elbo_nats"]
    assert float(np.mean(each)) == pytest.approx(gap, abs=0.035)  # five standard errors


def test_codes_are_drawn_from_the_top_down():
    model, count = exact(3), 20_000
    codes = jax.jit(
        lambda v: call(
            model.module, v, jax.random.key(0), count, {}, method="sample_codes"
        )
    )(model.variables)
    for variance, z in enumerate(codes, start=1):
        assert z.shape == (1, count, D)
        # Six standard errors.
        found = np.var(np.asarray(z), dtype=np.float64)
        assert found == pytest.approx(variance, rel=6 * np.sqrt(2 / (count * D)))
    together = np.mean(np.asarray(codes[0]) * np.asarray(codes[2]))
    assert together == pytest.approx(1.0, abs=0.05)


def test_means_are_those_of_the_codes_without_noise():
    above, below = jaxae.encode(exact(2), X)
    np.testing.assert_allclose(below, 2 / 3 * X, rtol=1e-5)
    np.testing.assert_allclose(above, 1 / 2 * 2 / 3 * X, rtol=1e-5)
    other = jnp.zeros_like(above)
    np.testing.assert_allclose(jaxae.decode(exact(2), (other, below)), below, rtol=1e-5)


def test_posteriors_of_one_draw():
    above, below = jaxae.posterior(exact(2), X, key=jax.random.key(0))
    np.testing.assert_allclose(below.mean[0], 2 / 3 * X, rtol=1e-5)
    assert above.batch_shape == below.batch_shape == (1, COUNT)
    np.testing.assert_allclose(above.variance, 0.5, rtol=1e-5)


def test_a_bound_of_several_weights_is_learned():
    """By the objective of another family."""
    recipe = recipes.stacked_vae((D,), (4, 2), network=LINEAR, likelihood="gaussian")
    recipe = recipe.replace(objective=objectives.IWAE(), num_samples=5)
    options = {"epochs": 3, "batch_size": 5, "progress": False}
    fitted = jaxae.fit(recipe, X, key=jax.random.key(0), **options)
    last = fitted.history[-1]
    assert last["iwae_nats"] > last["elbo_nats"]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (lambda: (layer(), recipes.ladder_vae((8, 8, 1)).module), "got 'LadderVAE'"),
        (lambda: (jaxae.Stacked(layer(), layer()), layer()), "lower must be an AutoEn"),
        (
            lambda: (recipes.autoencoder((D,), D).module, layer()),
            r"lower must have a posterior and a prior, got bottlenecks\.Deter",
        ),
        (lambda: (layer(), layer(D, likelihoods.Bernoulli())), "upper.likelihood must"),
        (
            lambda: (layer().clone(bottleneck=bottlenecks.VonMisesFisher(D)), layer()),
            "lower must be a bottleneck whose codes may lie anywhere",
        ),
        (
            lambda: (layer().clone(prior=jaxae.priors.MixturePrior(4, D)), layer()),
            "lower must have no prior of its own",
        ),
        (
            lambda: (layer(), layer(D, likelihoods.Gaussian("optimal"))),
            "upper.likelihood must be of a std that is fixed",
        ),
        (
            lambda: (layer(), layer().clone(view=views.Condition("age"))),
            r"upper must be shown nothing beside codes, got \['age'\]",
        ),
    ],
)
def test_parts_that_do_not_fit(parts, sentence):
    lower, upper = parts()
    # The types of the arguments are checked in tests alone.
    with pytest.raises((jaxae.ArgumentError, TypeCheckError)) as found:
        jaxae.Stacked(lower, upper)
    if isinstance(found.value, jaxae.ArgumentError):
        assert re.search(sentence, str(found.value))


def test_sizes_that_do_not_fit():
    module = jaxae.Stacked(layer(), layer(D + 1))
    recipe = recipes.compose_recipe(module, objectives.ELBO())
    with pytest.raises(jaxae.ArgumentError, match=r"lower must be one of codes of sh"):
        jaxae.init(recipe, jax.random.key(0))


def test_one_layer_is_no_stack():
    with pytest.raises(jaxae.ArgumentError, match="latent_dims must be two sizes or"):
        recipes.stacked_vae((D,), (4,))


def test_free_bits_need_a_closed_form():
    x = jnp.asarray(X)
    model = exact(2)
    trace = call(
        model.module, model.variables, {"x": x, "inputs": x}, jax.random.key(0)
    )
    with pytest.raises(jaxae.ArgumentError, match="known at its own samples alone"):
        kl_per_dimension(trace.latents[-1])
