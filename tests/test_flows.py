"""Flows against autodiff, their inverses, and the densities that they imply."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from jaxtyping import TypeCheckError

from jaxae import evaluation, fit, networks, sample
from jaxae.bottlenecks.flow import FlowPosterior
from jaxae.flows import Autoregressive, Planar, Radial, constrain_planar
from jaxae.objectives import ELBO
from jaxae.objectives.base import log_posterior
from jaxae.recipes.flows import flow_vae
from jaxae.training import init_state, trained_model

K, B, D, C = 2, 3, 4, 5
SHAPE = (4, 4, 1)
FLOWS = ["planar", "radial", "iaf", "maf"]
LAYERS = {
    "planar": Planar(),
    "radial": Radial(),
    "iaf": Autoregressive((7, 6)),
    "maf": Autoregressive((7,), masked_codes=True, gated=False),
    "linear": Autoregressive((), gated=False),
}
AUTOREGRESSIVE = ["iaf", "maf", "linear"]
MLP = networks.FullyConnected((6,))


def _normal(seed, *shape):
    values = np.random.default_rng(seed).normal(0, 1.5, shape)
    return jnp.asarray(np.float32(values))


@cache
def _layer(name, dim=D):
    """(the layer's apply, z, context); weights of size 1, biases too."""
    layer, z, context = LAYERS[name], _normal(1, K, B, dim), _normal(2, B, C)
    forms = jax.eval_shape(layer.init, jax.random.key(3), z, context)
    rng = np.random.default_rng(4)
    drawn = jax.tree.map(
        lambda form: rng.normal(0, 0.8, form.shape).astype(np.float32), forms
    )
    apply = jax.jit(partial(layer.apply, drawn), static_argnames="method")
    return apply, z, context


@cache
def _jacobians(name, dim=D):
    """Of every point on its own: [k, b, d, d]."""
    layer, z, context = _layer(name, dim)

    def at(point, given):
        return layer(point[None, None], given[None])[0][0, 0]

    over_batch = jax.vmap(jax.jacfwd(at))
    return np.asarray(jax.jit(jax.vmap(over_batch, in_axes=(0, None)))(z, context))


@pytest.mark.parametrize(
    ("name", "dim"), [*((name, D) for name in LAYERS), ("iaf", 1), ("maf", 1)]
)
def test_log_det_is_that_of_the_jacobian(name, dim):
    layer, z, context = _layer(name, dim)
    _, log_det = layer(z, context)
    sign, expected = np.linalg.slogdet(np.float64(_jacobians(name, dim)))
    assert (sign > 0).all()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(log_det, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_the_inverse_inverts(name):
    layer, z, context = _layer(name)
    there, log_det = layer(z, context)
    back, log_det_back = layer(there, context, method="inverse")
    assert np.abs(there - z).max() > 0.5
    np.testing.assert_allclose(back, z, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_dimensions_depend_on_those_before_alone(name):
    jacobians = _jacobians(name)
    above = np.triu(np.ones((D, D), bool), 1)
    below = np.tril(np.ones((D, D), bool), -1)
    assert (jacobians[..., above] == 0).all()
    assert (jacobians[..., below] != 0).all()


@pytest.mark.parametrize("name", LAYERS)
def test_every_dimension_depends_on_the_context_of_its_example(name):
    layer, z, context = _layer(name)
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda c: layer(z, c)[0]))(context))
    for i in range(B):
        assert (np.abs(jacobian[:, i, :, i]).max(axis=-1) > 0).all()
        others = np.delete(jacobian[:, i], i, axis=2)
        assert (others == 0).all()


def test_planar_layers_stay_invertible():
    w, u = 3.0 * _normal(0, 200, D), 3.0 * _normal(1, 200, D)
    moved, along = jax.jit(constrain_planar)(w, u)
    product = np.sum(np.float64(w) * np.float64(moved), axis=-1)
    before = np.sum(np.float64(w) * np.float64(u), axis=-1)
    assert (before < -1).sum() > 50
    assert product.min() >= -1 - 1e-4
    np.testing.assert_allclose(along, product, rtol=1e-3, atol=1e-4)
    # Along w alone.
    step = np.asarray(moved) - np.asarray(u)
    cosine = np.sum(step * w, -1) / np.linalg.norm(step, axis=-1)
    np.testing.assert_allclose(np.abs(cosine), np.linalg.norm(w, axis=-1), rtol=1e-3)


def test_planar_layers_are_the_identity_without_u():
    w = _normal(0, B, D)
    moved, along = jax.jit(constrain_planar)(w, jnp.zeros((B, D)))
    np.testing.assert_allclose(moved, 0, atol=1e-6)
    np.testing.assert_allclose(along, 0, atol=1e-6)


@pytest.mark.parametrize("name", ["planar", "radial"])
def test_gradients_are_finite_where_all_parameters_are_zero(name):
    z, context = jnp.zeros((1, 1, D)), jnp.zeros((1, C))
    layer = LAYERS[name]

    @jax.jit
    def gradients():
        def total(variables, z):
            out, log_det = layer.apply(variables, z, context)
            return out.sum() + log_det.sum()

        variables = layer.init(jax.random.key(0), z, context)
        return jax.grad(total, argnums=(0, 1))(variables, z)

    for leaf in jax.tree.leaves(gradients()):
        assert np.isfinite(leaf).all()


# The bottleneck


@cache
def _bottleneck(flow, num_samples=3, dim=D, size=1.0):
    """(latent of variables, variables, features)."""
    bottleneck = FlowPosterior(dim, flow, layers=3, hidden=(6,))
    h, key = size * np.asarray(_normal(5, B, C)), jax.random.key(0)
    variables = jax.jit(bottleneck.init)(jax.random.key(7), h, key)
    run = jax.jit(partial(bottleneck.apply, num_samples=num_samples))
    return lambda variables: run(variables, h, key), variables, h


@pytest.mark.parametrize("flow", FLOWS)
def test_the_posterior_has_the_shapes_of_a_latent(flow):
    run, variables, _ = _bottleneck(flow)
    latent = run(variables)
    assert latent.z.shape == (3, B, D)
    assert latent.mean.shape == (B, D)
    assert log_posterior(latent).shape == (3, B)
    assert latent.posterior is None
    assert latent.prior.batch_shape == (1, 1)


@pytest.mark.parametrize("flow", FLOWS)
def test_the_posterior_integrates_to_one(flow):
    """E_q[p(z) / q(z)] = ∫ p(z) dz = 1 for every p with lighter tails than q."""
    # Small features bend q little, so that the weights vary little.
    run, variables, _ = _bottleneck(flow, 40_000, dim=2, size=0.2)
    latent = run(variables)
    z = np.float64(latent.z)
    middle, std = z.mean(axis=0), 0.5 * z.std(axis=0)
    log_p = scipy.stats.norm.logpdf(z, middle, std).sum(axis=-1)
    weights = np.exp(log_p - np.float64(latent.log_posterior))
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert (error < 0.03).all()
    assert (np.abs(weights.mean(axis=0) - 1) < 5 * error).all()


@pytest.mark.parametrize("flow", ["iaf", "maf"])
def test_the_density_is_that_of_the_codes_mapped_back(flow):
    """log q(z) = log N(f⁻¹(z); mean, std²) + log |det ∂f⁻¹/∂z|, from z alone."""
    run, variables, h = _bottleneck(flow)
    latent, params = run(variables), variables["params"]
    masked = flow == "maf"
    layer = Autoregressive((6,), masked_codes=masked, gated=not masked)
    inverse = jax.jit(partial(layer.apply, method="inverse"))
    z, total = latent.z, 0.0
    for i in reversed(range(3)):
        own = {"params": params[f"Autoregressive_{i}"]}
        z, log_det = map(np.asarray, inverse(own, z, h))
        z, total = (z[..., ::-1] if i else z), total + log_det
    dense = params["Dense_0"]
    mean, log_std = np.split(h @ np.asarray(dense["kernel"]), 2, axis=-1)
    base = scipy.stats.norm.logpdf(z, mean, np.exp(log_std)).sum(axis=-1)
    np.testing.assert_allclose(latent.log_posterior, base + total, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("flow", FLOWS)
def test_the_code_without_noise_is_where_the_base_mean_goes(flow):
    """As the base's std goes to 0, so do all samples."""
    run, variables, _ = _bottleneck(flow)
    params = variables["params"]
    bias = np.where(np.arange(2 * D) < D, params["Dense_0"]["bias"], np.float32(-30))
    dense = {**params["Dense_0"], "bias": bias}
    latent = run({"params": {**params, "Dense_0": dense}})
    for z in np.asarray(latent.z):
        np.testing.assert_allclose(z, latent.mean, rtol=1e-4, atol=1e-4)


def test_the_order_is_reversed_between_autoregressive_layers():
    """After two layers the last dimension is no longer the only one to see them all."""
    bottleneck = FlowPosterior(D, "iaf", layers=2, hidden=(6,))
    h, key = _normal(5, 1, C), jax.random.key(0)
    variables = jax.jit(bottleneck.init)(jax.random.key(7), h, key)

    def mean(bias):
        dense = {**variables["params"]["Dense_0"], "bias": bias}
        params = {**variables["params"], "Dense_0": dense}
        return bottleneck.apply({"params": params}, h, key).mean[0]

    start = variables["params"]["Dense_0"]["bias"]
    jacobian = np.asarray(jax.jit(jax.jacfwd(mean))(start))[:, :D]
    assert (jacobian[:, 0] != 0).sum() >= D - 1
    assert (np.abs(np.triu(jacobian, 1)) > 0).any()
    assert (np.abs(np.tril(jacobian, -1)) > 0).any()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"layers": 0}, "layers"),
        ({"hidden": (0,)}, "hidden"),
        ({"flow": "real_nvp"}, "flow"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises((ValueError, TypeCheckError), match=named):
        FlowPosterior(**{"latent_dim": 2, **arguments})
    with pytest.raises(ValueError, match="hidden"):
        Autoregressive((0,))


# The whole model


def _images(count):
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def _recipe(flow):
    return flow_vae(SHAPE, 2, flow=flow, layers=2, hidden=(4,), network=MLP)


def _untrained(recipe):
    batch = {"x": jnp.zeros((2, *SHAPE))}
    init = jax.jit(partial(init_state, recipe, optax.sgd(0.1)))
    return trained_model(recipe, init(batch, jax.random.key(7)))


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.slow
def test_training_moves_all_parameters(flow):
    recipe = _recipe(flow)
    before = _untrained(recipe)
    done = fit(
        recipe, _images(16), key=jax.random.key(7), epochs=1, batch_size=8,
        progress=False,
    )  # fmt: skip
    assert np.isfinite(done.history[0]["loss"])
    assert done.state.skipped_in_row == 0
    flow_before = before.variables["params"]["bottleneck"]
    flow_after = done.model.variables["params"]["bottleneck"]
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), flow_before, flow_after)
    assert jax.tree.all(moved)


@pytest.mark.slow
def test_samples_are_finite_and_the_bound_is_below_the_likelihood():
    model, key = _untrained(_recipe("iaf")), jax.random.key(2)
    images = _images(8)
    bound = evaluation.elbo_terms(model, images, key, num_samples=300)["elbo_nats"]
    nll = evaluation.nll_nats(model, images, key, num_samples=300)
    assert np.mean(bound) < -np.mean(nll)
    made = sample(model, key, 3)
    assert made.shape == (3, *SHAPE)
    assert np.isfinite(made).all()


def test_free_bits_have_no_flow():
    recipe = _recipe("planar").replace(objective=ELBO(free_bits=0.1))
    with pytest.raises(ValueError, match="factorised"):
        fit(recipe, _images(8), key=jax.random.key(0), epochs=1, progress=False)
