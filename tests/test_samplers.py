"""Samplers of codes: exact densities, known distributions, and clear refusals."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from jaxae import Model, decode, encode, fit, init, networks, recipes, samplers
from jaxae.errors import ArgumentError
from jaxae.flows import Autoregressive
from jaxae.samplers.base import flatten, standardize
from jaxae.samplers.flow import (
    FlowDensity,
    FlowModel,
    flow_density,
)
from jaxae.training.initial import abstract_variables
from tests.weights import some_weights

KEY = jax.random.key(0)
SHAPE = (4, 4, 1)
MLP = networks.FullyConnected((4,))
FITTED = {
    "gaussian_mixture": partial(samplers.gaussian_mixture, components=2),
    "two_stage": partial(samplers.two_stage, hidden=(4,), epochs=1),
    "flow": partial(samplers.flow, layers=2, hidden=(4,), epochs=1),
}


def _model(recipe):
    """With random weights: what is tested with it does not depend on them."""
    return Model(recipe, some_weights(abstract_variables(recipe), 0.3, seed=7))


def _images(count=6):
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def _correlated(count, correlation=0.8):
    """Two dimensions with means (5, -1) and standard deviations (2, 0.5)."""
    mean, std = np.array([5.0, -1.0]), np.array([2.0, 0.5])
    covariance = np.outer(std, std) * [[1.0, correlation], [correlation, 1.0]]
    codes = np.random.default_rng(0).multivariate_normal(mean, covariance, count)
    return codes.astype(np.float32), mean, covariance


# The codes to fit, and the prior


@pytest.fixture(scope="module")
def vae():
    return _model(recipes.vae(SHAPE, 2, network=MLP))


@pytest.fixture(scope="module")
def classic():
    return _model(recipes.autoencoder(SHAPE, 2, network=MLP))


def test_aggregate_codes_are_draws_of_the_posterior(vae):
    codes = samplers.aggregate_codes(vae, _images(), KEY)
    key_prepare, key_code = jax.random.split(KEY)
    binary = samplers.prepared(vae, _images(), key_prepare)
    assert set(np.unique(binary)) == {0.0, 1.0}
    np.testing.assert_array_equal(codes, encode(vae, binary, key=key_code))
    assert (codes != encode(vae, binary)).all()


def test_aggregate_codes_are_the_codes_where_they_are_deterministic(classic):
    codes = samplers.aggregate_codes(classic, _images(), KEY)
    np.testing.assert_array_equal(codes, encode(classic, _images()))


def test_aggregate_codes_of_a_model_that_is_shown_labels():
    model = _model(recipes.conditional_vae(SHAPE, 2, num_labels=3, network=MLP))
    label = np.arange(6) % 3
    codes = samplers.aggregate_codes(model, _images(), KEY, label=label)
    other = samplers.aggregate_codes(model, _images(), KEY, label=(label + 1) % 3)
    assert codes.shape == (6, 2)
    assert (codes != other).any()


def test_the_prior_is_the_models(vae):
    codes = np.asarray(samplers.prior(vae)(KEY, 5000))
    assert codes.shape == (5000, 2)
    # Standard normal, at a level of 1 in 1,000.
    assert scipy.stats.kstest(codes.ravel(), "norm").pvalue > 1e-3
    assert decode(vae, codes[:3]).shape == (3, *SHAPE)


@pytest.mark.slow
def test_the_prior_of_several_latents():
    model = _model(recipes.ladder_vae(SHAPE, 2, channels=(3, 3)))
    codes = samplers.prior(model)(KEY, 3)
    assert isinstance(codes, tuple) and len(codes) == 2
    for code, expected in zip(codes, encode(model, _images(3)), strict=True):
        assert code.shape == expected.shape
    assert decode(model, codes).shape == (3, *SHAPE)


def test_a_model_without_a_prior_is_refused(classic):
    with pytest.raises(ArgumentError, match="model must have a prior"):
        samplers.prior(classic)


# Vectors and back


def _several():
    generator = np.random.default_rng(1)
    return (
        generator.normal(3.0, 2.0, (5, 1, 2, 2)).astype(np.float32),
        generator.normal(-1.0, 0.1, (5, 3)).astype(np.float32),
    )


@pytest.mark.parametrize("codes", [_several(), _several()[0]], ids=["tuple", "array"])
@pytest.mark.parametrize("function", [flatten, standardize])
def test_vectors_and_back(function, codes):
    values, restore = function(codes)
    leaves = jax.tree.leaves(codes)
    assert values.shape == (5, sum(leaf[0].size for leaf in leaves))
    back = restore(jnp.asarray(values))
    assert jax.tree.structure(back) == jax.tree.structure(codes)
    for came, expected in zip(jax.tree.leaves(back), leaves, strict=True):
        np.testing.assert_allclose(came, expected, rtol=1e-6, atol=1e-6)


def test_standardized_dimensions_and_constant_ones():
    code = _several()[0].reshape(5, 4).copy()
    code[:, 1], code[:, 2] = 0.1, 0.0
    values, restore = standardize(code)
    assert values.shape == (5, 2)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(restore(jnp.asarray(values)), code, rtol=1e-6, atol=1e-6)
    new = np.asarray(restore(jnp.full((3, 2), 2.0)))
    np.testing.assert_array_equal(new[:, 1:3], code[:3, 1:3])
    expected = code.astype(float).mean(axis=0) + 2 * code.astype(float).std(axis=0)
    np.testing.assert_allclose(
        new[:, [0, 3]], expected[None, [0, 3]].repeat(3, 0), 1e-5
    )


# All fitted samplers


@pytest.mark.parametrize("name", FITTED)
def test_codes_have_the_form_of_those_fitted(name):
    generator = np.random.default_rng(0)
    codes = (
        generator.normal(size=(20, 1, 2, 1)).astype(np.float32),
        generator.normal(size=(20, 2)).astype(np.float32),
    )
    codes[1][:, 0] = 7.0  # a dimension that the model does not use
    sampler = FITTED[name](codes, KEY)
    drawn = sampler(jax.random.key(1), 4)
    assert [code.shape for code in drawn] == [(4, 1, 2, 1), (4, 2)]
    for leaf in jax.tree.leaves(drawn):
        assert leaf.dtype == jnp.float32 and np.isfinite(leaf).all()
    np.testing.assert_allclose(drawn[1][:, 0], 7.0, atol=0.02)
    again = FITTED[name](codes, KEY)(jax.random.key(1), 4)
    jax.tree.map(np.testing.assert_array_equal, again, drawn)
    other = sampler(jax.random.key(2), 4)
    assert (other[0] != drawn[0]).all()
    with pytest.raises(ArgumentError, match="count must be a whole number"):
        sampler(KEY, 0)
    with pytest.raises(ArgumentError, match="key must be one typed key"):
        sampler(jax.random.split(KEY), 2)


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((9, 2), np.int32), "whole ones are for samplers.autoregressive"),
        (np.full((9, 2), np.nan), "codes hold a value that is not finite"),
        (np.zeros(9), r"codes must be of shape \[n, \.\.\.\]"),
        ((np.zeros((9, 2)), np.zeros((8, 2))), "one n for all"),
        ((), "a tuple of arrays"),
    ],
)
def test_codes_that_cannot_be_fitted(name, codes, message):
    with pytest.raises(ArgumentError, match=message):
        FITTED[name](codes, KEY)


@pytest.mark.parametrize("name", FITTED)
def test_keys_are_checked(name):
    with pytest.raises(ArgumentError, match="key must be one typed key"):
        FITTED[name](_correlated(20)[0], jax.random.split(KEY))


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (samplers.gaussian_mixture, "components"),
        (samplers.two_stage, "epochs"),
        (samplers.two_stage, "batch_size"),
        (samplers.flow, "layers"),
        (samplers.flow, "epochs"),
        (samplers.flow, "batch_size"),
    ],
)
def test_numbers_are_checked(function, argument):
    with pytest.raises(ArgumentError, match=argument):
        function(_correlated(20)[0], KEY, **{argument: 0})


@pytest.mark.parametrize("function", [samplers.two_stage, samplers.flow])
def test_sizes_are_checked(function):
    with pytest.raises(ArgumentError, match="hidden"):
        function(_correlated(20)[0], KEY, hidden=(4, 0))


def test_codes_that_do_not_differ_are_refused():
    for function in (samplers.two_stage, samplers.flow):
        with pytest.raises(ArgumentError, match="codes must differ"):
            function(np.full((5, 2), 0.1), KEY)


# The mixture


def test_the_mixture_finds_two_clusters():
    generator = np.random.default_rng(0)
    means, count = np.array([[-4.0, 0.0, 1.0], [4.0, 2.0, 1.0]]), 2000
    factor = np.array([[0.5, 0.0, 0.0], [0.3, 0.2, 0.0], [0.0, 0.1, 0.4]])
    second = generator.random(count) < 0.3
    noise = generator.normal(size=(count, 3)) @ factor.T
    codes = (means[second.astype(int)] + noise).astype(np.float32)
    sampler = samplers.gaussian_mixture(codes, KEY, components=2)
    drawn = np.asarray(sampler(jax.random.key(1), 20_000))
    right = drawn[:, 0] > 0
    assert abs(right.mean() - second.mean()) < 0.02
    for chosen, given in ((right, second), (~right, ~second)):
        own, expected = drawn[chosen], codes[given]
        np.testing.assert_allclose(own.mean(axis=0), expected.mean(axis=0), atol=0.03)
        np.testing.assert_allclose(np.cov(own.T), np.cov(expected.T), atol=0.02)


def test_fewer_codes_than_components_are_refused():
    with pytest.raises(ArgumentError, match="codes must be at least 10, got 9 of"):
        samplers.gaussian_mixture(np.zeros((9, 2), np.float32), KEY)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        samplers.gaussian_mixture(_correlated(20)[0], KEY)


# Trained on a correlated Gaussian


@pytest.mark.parametrize(
    "fitted",
    [
        partial(samplers.two_stage, hidden=(16,), epochs=40, batch_size=50),
        partial(samplers.flow, layers=2, hidden=(32,), epochs=20, batch_size=50),
    ],
    ids=["two_stage", "flow"],
)
@pytest.mark.slow
def test_moments_of_a_correlated_gaussian(fitted):
    codes, mean, covariance = _correlated(2000)
    drawn = np.asarray(fitted(codes, KEY)(jax.random.key(1), 10_000))
    std = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((drawn.mean(axis=0) - mean) / std, 0, atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0) / std, 1, atol=0.1)
    np.testing.assert_allclose(np.corrcoef(drawn.T)[0, 1], 0.8, atol=0.06)


@pytest.mark.slow
def test_the_loss_of_the_flow_nears_the_entropy():
    """The mean of -log p over new codes is at least the entropy of their source."""
    codes, _, covariance = _correlated(4000)
    done = fit(
        flow_density((2,), 2, (32,)), codes[:2000], key=KEY, epochs=30, batch_size=50,
        tx=optax.adam(3e-3), validation=codes[2000:], progress=False,
    )  # fmt: skip
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    loss = min(row["validation_loss"] for row in done.history)
    # The mean over 2,000 codes has a standard error of 0.02: -log p has variance d/2.
    assert entropy - 0.07 < loss < entropy + 0.1


# The density of the flow


def _density(dim=3):
    """With weights that are far from those of the initialisation."""
    module = FlowModel(shape=(dim,), layers=2, hidden=(7, 6))
    batch = {"x": jnp.asarray(np.zeros((2, dim), np.float32))}
    init = partial(module.init, KEY, (), method="decode")
    variables = some_weights(jax.eval_shape(init, batch), 0.7, seed=7)
    return module.apply(variables, (), batch, method="decode")


log_prob = jax.jit(FlowDensity.log_prob)


def _layers(density, **options):
    """The flow as a function of one point."""

    def function(point):
        mapped, _ = density.module.apply(
            density.variables, point[None, None], **options
        )
        return mapped[0, 0]

    return function


@pytest.mark.parametrize("dim", [1, 3])
def test_the_density_is_by_the_change_of_variables(dim):
    """log p(x) = log N(f⁻¹(x); 0, I) + log |det ∂f⁻¹/∂x|, the latter by autodiff."""
    density = _density(dim)
    assert isinstance(density, FlowDensity)
    assert density.batch_shape == (1, 1) and density.event_shape == (dim,)
    x = np.float32(np.random.default_rng(1).normal(0, 1.5, (4, dim)))
    back = _layers(density, method="inverse")
    jacobians = np.float64(jax.jit(jax.vmap(jax.jacfwd(back)))(x))
    _, log_det = np.linalg.slogdet(jacobians)
    assert np.abs(log_det).max() > 0.1
    noise = np.asarray(jax.jit(jax.vmap(back))(x))
    assert np.abs(noise - x).max() > 0.3
    expected = scipy.stats.norm.logpdf(noise).sum(axis=-1) + log_det
    came = log_prob(density, jnp.asarray(x))
    assert came.shape == (1, 4)
    np.testing.assert_allclose(came[0], expected, rtol=1e-4, atol=1e-4)
    several = log_prob(density, jnp.asarray(np.stack([x, 2 * x])))
    assert several.shape == (2, 4)
    np.testing.assert_allclose(several[:1], came, rtol=1e-5, atol=1e-5)


def test_the_density_integrates_to_one():
    side = np.linspace(-12.0, 12.0, 401, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    mass = np.exp(log_prob(_density(2), jnp.asarray(grid))).sum()
    assert mass * (side[1] - side[0]) ** 2 == pytest.approx(1.0, abs=5e-3)


def test_samples_are_of_the_density():
    """Drawn as noise mapped forward; mapped back, they are that noise."""
    density = _density()
    x = jax.jit(lambda key: density.sample(key, (2, 100)))(KEY)
    assert x.shape == (2, 100, 1, 1, 3)
    flat = x.reshape(200, 3)
    u = jax.jit(jax.vmap(_layers(density, method="inverse")))(flat)
    forward = jax.jit(jax.vmap(_layers(density)))(u)
    np.testing.assert_allclose(forward, flat, rtol=1e-3, atol=1e-3)
    # At a level of 1 in 1,000.
    assert scipy.stats.kstest(np.asarray(u).ravel(), "norm").pvalue > 1e-3


def test_every_dimension_depends_on_every_other():
    """The order is reversed between the layers."""
    jacobian = jax.jit(jax.jacfwd(_layers(_density(3))))(np.ones(3, np.float32))
    assert (np.abs(jacobian) > 1e-5).all()


def test_log_scales_are_bounded():
    """At 3 a layer: far from all codes too, where they would grow with the distance."""
    layer, context = (
        Autoregressive((5,), masked_codes=True, gated=False),
        jnp.ones((1, 1)),
    )
    x = jnp.full((1, 1, 3), 1e4)

    @jax.jit
    def inverse(x):
        variables = layer.init(KEY, x, context)
        return layer.apply(variables, x, context, method="inverse")

    log_det = np.asarray(inverse(x)[1])
    assert 1.0 < np.abs(log_det[0, 0]) <= 9.0


def test_a_fresh_flow_is_nearly_the_identity():
    recipe = flow_density((6,), 3, (64,))
    variables = init(recipe, KEY).variables
    density = recipe.module.apply(variables, (), {}, method="decode")
    x = np.float32(np.random.default_rng(0).normal(size=(50, 6)))
    noise = jax.jit(jax.vmap(_layers(density, method="inverse")))(x)
    # After two reversals of the order.
    assert np.sqrt(np.mean(np.square(noise - x))) < 0.7


def test_wrong_sizes_of_the_flow():
    for arguments in ({"shape": (0,)}, {"layers": 0}, {"hidden": (0,)}):
        (name,) = arguments
        with pytest.raises(ArgumentError, match=name):
            FlowModel(**{"shape": (2,), **arguments})
