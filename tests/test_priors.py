"""Mixtures against scipy, and the VampPrior against its definition by brute force."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from jaxae import evaluation, fit, networks, recipes, sample
from jaxae.bottlenecks.flow import FlowPosterior
from jaxae.bottlenecks.gaussian import diagonal_normal
from jaxae.distributions.elementwise import Laplace
from jaxae.distributions.mixtures import DiagonalMixture
from jaxae.models.family import call
from jaxae.objectives.base import log_posterior, log_prior
from jaxae.objectives.elbo import rate
from jaxae.priors import MixturePrior, VampPrior
from jaxae.recipes.priors import mixture_vae, vamp_vae
from jaxae.training import init_state, trained_model
from jaxae.training.loss import batch_loss

K, B, M, D = 2, 3, 5, 4
SHAPE = (4, 4, 1)
MLP = networks.FullyConnected((6,))
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=M).astype(np.float32)
LOC = 2 * RNG.normal(size=(M, D)).astype(np.float32)
SCALE = np.exp(0.5 * RNG.normal(size=(M, D))).astype(np.float32)
Z = 2 * RNG.normal(size=(K, B, D)).astype(np.float32)


def _mixture():
    return DiagonalMixture(jnp.asarray(LOGITS), jnp.asarray(LOC), jnp.asarray(SCALE))


def _log_density(z, logits, loc, scale):
    """In float64, component by component."""
    z, logits = np.float64(z), np.float64(logits)
    each = [
        scipy.stats.norm.logpdf(z, m, s).sum(axis=-1)
        for m, s in zip(np.float64(loc), np.float64(scale), strict=True)
    ]
    log_weights = logits - scipy.special.logsumexp(logits)
    return scipy.special.logsumexp(np.stack(each, -1) + log_weights, axis=-1)


# The distribution


def test_mixture_density_is_scipys():
    expected = _log_density(Z, LOGITS, LOC, SCALE)
    found = jax.jit(lambda z: _mixture().log_prob(z))(Z)
    np.testing.assert_allclose(found, expected, 1e-5)


def test_mixture_density_far_from_zero():
    density = jax.jit(lambda *parts, z: DiagonalMixture(*parts).log_prob(z))
    found = density(LOGITS, LOC + 256, SCALE, z=Z + 256)
    expected = _log_density(Z + 256, LOGITS, LOC + 256, SCALE)
    np.testing.assert_allclose(found, expected, 1e-5)


@pytest.mark.parametrize("log_scale", [-3.0, -8.0])
def test_mixture_density_of_many_narrow_components(log_scale):
    """As products of matrices it is .003 nats off at e^-3, and 64 at e^-8."""
    m, d, b = 500, 40, 20
    rng = np.random.default_rng(3)
    loc = rng.normal(size=(m, d)).astype(np.float32)
    scale = np.full((m, d), np.exp(log_scale), np.float32)
    z = (loc[:b] + scale[:b] * rng.normal(size=(b, d))).astype(np.float32)[None]
    density = jax.jit(lambda *parts, z: DiagonalMixture(*parts).log_prob(z))
    found = density(np.zeros(m, np.float32), loc, scale, z=z)
    expected = _log_density(z, np.zeros(m), loc, scale)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("log_scale", [-43.7, -60.0, -80.0])
def test_a_component_whose_squares_float32_does_not_have(log_scale):
    """log p = -½ |u|² - d log s + ..., and -|u|² - d is its slope by log s."""
    u = np.array([0.5, -1.0, 2.0])
    z, wide = u * np.exp(log_scale), (3.0, 1.0)  # and a second one, far away

    def log_prob(log_scale, z):
        scale = jnp.stack([jnp.exp(log_scale), jnp.ones(())])[:, None].repeat(3, 1)
        loc = jnp.stack([jnp.zeros(3), jnp.full(3, wide[0])])
        return DiagonalMixture(jnp.zeros(2), loc, scale).log_prob(z[None, None]).sum()

    value, (by_scale, by_z) = jax.jit(jax.value_and_grad(log_prob, argnums=(0, 1)))(
        jnp.float32(log_scale), jnp.asarray(z, jnp.float32)
    )
    expected = -0.5 * u @ u - 3 * log_scale - 1.5 * np.log(2 * np.pi) - np.log(2)
    # The logarithm is rounded to 4e-6, and so is all that is relative to the scale.
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(by_scale, u @ u - 3, rtol=1e-4)
    np.testing.assert_allclose(by_z * np.exp(log_scale), -u, rtol=1e-4)


def test_a_mixture_makes_no_array_of_all_pairs_and_dimensions():
    """Nor does its gradient: four times the dimensions hardly take more memory."""

    def memory(d):
        loc, z = jnp.zeros((64, d)), jnp.zeros((1, 256, d))
        density = lambda *given: DiagonalMixture(*given[:3]).log_prob(given[3]).sum()  # noqa: E731
        gradient = jax.jit(jax.grad(density, argnums=(0, 1, 2, 3)))
        compiled = gradient.lower(jnp.zeros(64), loc, loc, z).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    pairs, inputs = 4 * 64 * 256, 4 * (64 + 64 + 256)
    assert memory(64) - memory(16) < 4 * inputs * (64 - 16) < pairs * (64 - 16) / 2


def test_mixture_gradient_is_that_of_the_definition():
    def direct(z):
        each = jax.scipy.stats.norm.logpdf(
            z[:, :, None], LOC[None, None], SCALE[None, None]
        ).sum(axis=-1)
        log_weights = jax.nn.log_softmax(jnp.asarray(LOGITS))[None, None]
        return jax.nn.logsumexp(each + log_weights, axis=-1).sum()

    found = jax.jit(jax.grad(lambda z: _mixture().log_prob(z).sum()))(Z)
    expected = jax.jit(jax.grad(direct))(Z)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_mixture_passes_through_jit():
    build = jax.jit(lambda a, b, c: DiagonalMixture(a, b, c))
    mixture = build(LOGITS, LOC, SCALE)
    assert mixture.batch_shape == (1, 1)
    assert mixture.event_shape == (D,)
    density = jax.jit(lambda p, z: p.log_prob(z))(mixture, jnp.asarray(Z))
    np.testing.assert_allclose(density, _log_density(Z, LOGITS, LOC, SCALE), 1e-5)


def test_mixture_samples_have_its_moments():
    count = 40_000
    draw = jax.jit(lambda key: _mixture().sample(key, (count,)))
    z = np.asarray(draw(jax.random.key(0)))
    assert z.shape == (count, 1, 1, D)
    z = np.float64(z[:, 0, 0])
    weights = scipy.special.softmax(np.float64(LOGITS))
    mean = weights @ LOC
    centered = LOC - mean
    covariance = (weights[:, None] * centered).T @ centered
    covariance += np.diag(weights @ np.square(SCALE))
    std = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(_mixture().mean[0, 0], mean, rtol=1e-4, atol=1e-5)
    assert (np.abs(z.mean(0) - mean) < 5 * std / np.sqrt(count)).all()
    np.testing.assert_allclose(
        np.cov(z.T) / np.outer(std, std), covariance / np.outer(std, std), atol=0.05
    )


# The priors in a model


def _images(count):
    return RNG.integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def _mixture_recipe(**options):
    return mixture_vae(SHAPE, 2, components=3, network=MLP, **options)


def _vamp_recipe(**options):
    return vamp_vae(SHAPE, 2, components=4, network=MLP, **options)


RECIPES = {"mixture": _mixture_recipe, "vamp": _vamp_recipe}


def _state(recipe):
    batch = {"x": jnp.zeros((2, *recipe.module.shape))}
    init = jax.jit(partial(init_state, recipe, optax.sgd(0.1)))
    return init(batch, jax.random.key(7))


def _untrained(recipe):
    return trained_model(recipe, _state(recipe))


def _latent(model, x, num_samples=1):
    batch, key = {"inputs": jnp.asarray(x)}, jax.random.key(3)
    return _encode(model.module, model.variables, batch, key, num_samples)[0]


@partial(jax.jit, static_argnums=(0, 4))
def _encode(module, variables, batch, key, num_samples):
    return call(module, variables, batch, key, method="encode", num_samples=num_samples)


def _pseudo_inputs(model):
    return model.variables["params"]["prior"]["pseudo_inputs"]


def test_vamp_density_is_the_mean_over_the_pseudo_inputs():
    model = _untrained(_vamp_recipe())
    # Values outside [0, 1], which the clamp must stop.
    inputs = jnp.asarray(RNG.normal(size=(4, *SHAPE)).astype(np.float32))
    model.variables["params"]["prior"]["pseudo_inputs"] = inputs
    latent = _latent(model, RNG.random((B, *SHAPE)).astype(np.float32), K)
    density = jax.jit(lambda q, z: q.log_prob(z))
    each = []
    for u in np.clip(inputs, 0, 1):
        q = _latent(model, u[None]).posterior
        assert q is not None
        each.append(np.asarray(density(q, latent.z)))
    expected = scipy.special.logsumexp(np.float64(each), axis=0) - np.log(4)
    found = jax.jit(log_prior)(latent)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_pseudo_inputs_start_as_in_the_paper():
    prior = VampPrior((50, 50), 4)

    def posterior_of(x, conditions):
        return diagonal_normal(x[None, :, 0], jnp.ones((1, *x[:, 0].shape)))

    variables = prior.init(jax.random.key(0), posterior_of)
    inputs = variables["params"]["pseudo_inputs"]
    assert inputs.shape == (4, 50, 50)
    assert np.mean(inputs) == pytest.approx(0.05, abs=5 * 0.01 / 100)
    assert np.std(inputs) == pytest.approx(0.01, rel=0.05)


def _no_posterior(x):
    raise AssertionError("a mixture asks for no posterior")


def test_the_mixture_prior_starts_with_equal_weights_and_unit_scales():
    prior = MixturePrior(200, 50)
    variables = prior.init(jax.random.key(0), _no_posterior)
    mixture = prior.apply(variables, _no_posterior)
    np.testing.assert_array_equal(mixture.logits, 0.0)
    np.testing.assert_array_equal(mixture.scale, 1.0)
    assert np.std(mixture.loc) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("name", RECIPES)
def test_the_rate_is_the_mean_over_the_samples(name):
    """There is no closed form, so that `rate` falls back."""
    model = _untrained(RECIPES[name]())
    latent = _latent(model, RNG.random((B, *SHAPE)).astype(np.float32), K)
    assert latent.posterior is not None
    assert latent.prior.batch_shape == (1, 1)
    mean = jax.jit(lambda latent: _log_ratio(latent).mean(axis=0))
    np.testing.assert_array_equal(jax.jit(rate)(latent), mean(latent))


def _log_ratio(latent):
    return log_posterior(latent) - log_prior(latent)


def test_a_mixture_of_one_standard_normal_costs_the_closed_form_on_average():
    recipe = mixture_vae(SHAPE, 2, components=1, network=MLP)
    model = _untrained(recipe)
    model.variables["params"]["prior"]["loc"] = jnp.zeros((1, 2))
    x = RNG.random((1, *SHAPE)).astype(np.float32)
    latent = _latent(model, x, 20_000)
    q = latent.posterior.base_dist
    loc, scale = np.float64(q.loc), np.float64(q.scale)
    kl = 0.5 * (loc**2 + scale**2 - 1) - np.log(scale)
    each = np.asarray(jax.jit(_log_ratio)(latent))
    error = each.std() / np.sqrt(each.size)
    assert abs(each.mean() - float(kl.sum())) < 5 * error


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_reach_the_prior_and_the_encoder(name):
    recipe = RECIPES[name]()
    state = _state(recipe)
    batch = {"x": jnp.asarray(_images(4))}
    key, step = jax.random.key(0), jnp.asarray(0)

    def loss(params):
        return batch_loss(recipe, params, state.collections, batch, key, step)[0]

    grads = jax.jit(jax.grad(loss))(state.params)["model"]
    for part in ("prior", "encoder", "bottleneck"):
        for grad in jax.tree.leaves(grads[part]):
            assert np.isfinite(grad).all()
            assert np.abs(grad).max() > 0


def test_the_vamp_priors_gradient_goes_through_the_encoder():
    model = _untrained(_vamp_recipe())
    z = jnp.ones((1, 1, 2))

    def density(params):
        prior = call(model.module, {"params": params}, {}, method="_prior")
        return prior.log_prob(z).sum()

    grads = jax.jit(jax.grad(density))(model.variables["params"])
    assert np.abs(grads["encoder"]["Dense_0"]["kernel"]).max() > 0
    assert np.abs(grads["prior"]["pseudo_inputs"]).max() > 0
    assert np.abs(grads["decoder"]["Dense_0"]["kernel"]).max() == 0


@pytest.mark.parametrize("name", RECIPES)
def test_codes_are_drawn_from_the_prior(name):
    model = _untrained(RECIPES[name]())
    module, key = model.module, jax.random.key(4)

    @jax.jit
    def drawn(variables):
        (codes,) = call(module, variables, key, 7, {}, method="sample_codes")
        prior = call(module, variables, {}, method="_prior")
        return codes, prior.sample(key, (7,))[:, 0, 0]

    codes, expected = jax.device_get(drawn(model.variables))
    assert codes.shape == (1, 7, 2)
    np.testing.assert_allclose(codes[0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.slow
def test_training_samples_and_bounds(name):
    recipe = RECIPES[name]()
    images, key = _images(16), jax.random.key(2)
    done = fit(recipe, images, key=key, epochs=2, batch_size=8, progress=False)
    assert np.isfinite([row["loss"] for row in done.history]).all()
    assert done.state.skipped_in_row == 0
    made = sample(done.model, key, 3)
    assert made.shape == (3, *SHAPE)
    assert np.isfinite(made).all()
    bound = evaluation.elbo_terms(done.model, images, key, num_samples=200)
    nll = evaluation.nll_nats(done.model, images, key, num_samples=200)
    assert np.mean(bound["elbo_nats"]) < -np.mean(nll)


# Bad arguments


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: MixturePrior(0), "latent_dim"),
        (lambda: MixturePrior(2, 0), "components"),
        (lambda: VampPrior((4, 0)), "shape"),
        (lambda: VampPrior((4,), 0), "components"),
        (lambda: vamp_vae(SHAPE, 2, components=0), "components"),
        (lambda: mixture_vae(SHAPE, 0), "latent_dim"),
    ],
)
def test_bad_arguments_are_named(build, named):
    with pytest.raises(ValueError, match=named):
        build()


def test_a_vamp_prior_needs_a_gaussian_posterior():
    def posterior_of(x, conditions):
        return Laplace(x[None], jnp.ones((1, *x.shape))).to_event(1)

    with pytest.raises(ValueError, match="posterior must be a Gaussian"):
        VampPrior((3,), 2).init(jax.random.key(0), posterior_of)


def test_a_vamp_prior_needs_a_density_of_any_code():
    bottleneck = FlowPosterior(2, "planar", 1)
    network = networks.FullyConnected(())
    model = recipes.compose_model(
        SHAPE, network, bottleneck, "bernoulli", prior=VampPrior(SHAPE, 2)
    )
    x, key = jnp.zeros((2, *SHAPE)), jax.random.key(0)
    with pytest.raises(ValueError, match="needs a bottleneck with a density"):
        jax.eval_shape(partial(model.init, key), {"x": x, "inputs": x}, key)
