"""The contractive penalty against Jacobians from forward differentiation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae.bottlenecks.sigmoid import ContractiveSigmoid
from jaxae.objectives.contraction import Contraction
from jaxae.recipes.regularized import contractive_autoencoder
from jaxae.training.batch import model_batch
from jaxae.types import Context, Latent, Trace

X = np.random.default_rng(0).normal(size=(8, 3, 2)).astype(np.float32)
KEY = jax.random.key(0)


def _deep(params, inputs):
    """Two codes of an encoder with two layers: [8, 3, 1] and [8, 2]."""
    h = jnp.tanh(inputs.reshape(-1, 6) @ params["first"])
    means = jnp.sin(h @ params["top"])[..., None], h @ params["bottom"]
    return tuple(Latent(mean[None], mean) for mean in means)


def _params():
    shapes = {"first": (6, 5), "top": (5, 3), "bottom": (5, 2)}
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}


@partial(jax.jit, static_argnums=0)
def _loss(objective, key=KEY, step=0, params=None):
    params = _params() if params is None else params
    x = jnp.asarray(X)
    trace = Trace(x, x, None, None, _deep(params, x))
    context = Context(key, jnp.asarray(step), {}, params, _deep, None)
    return objective.loss({}, trace, context)


@jax.jit
def _exact(params):
    """||J||_F² of every example by itself, by forward differentiation."""

    def code(x):
        return jnp.concatenate([u.mean.ravel() for u in _deep(params, x[None])])

    jacobian = jax.vmap(jax.jacfwd(code))(jnp.asarray(X))
    return jnp.square(jacobian).sum(axis=(1, 2, 3))


def test_exact_is_the_jacobian_of_all_codes():
    loss, metrics = _loss(Contraction(0.5))
    expected = np.asarray(_exact(_params()))
    np.testing.assert_allclose(metrics["contraction"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, 0.5 * expected, rtol=1e-5)


def test_hutchinson_is_the_jacobian_in_expectation():
    objective = Contraction(1.0, "hutchinson")
    keys = jax.random.split(KEY, 4000)
    draws = np.float64(jax.jit(jax.vmap(lambda k: _loss(objective, k)[0]))(keys))
    error = draws.std(axis=0) / np.sqrt(len(draws))
    expected = np.float64(_exact(_params()))
    assert (np.abs(draws.mean(axis=0) - expected) < 5 * error).all()
    assert (error > 0).all() and (error < 0.1 * expected).all()


def test_its_gradient_is_that_of_the_jacobian():
    ours = jax.grad(lambda p: _loss(Contraction(1.0), params=p)[0].sum())
    grads = jax.jit(ours)(_params())
    expected = jax.jit(jax.grad(lambda p: _exact(p).sum()))(_params())
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[name], rtol=1e-3, atol=1e-3)


def test_the_weight_may_be_a_schedule():
    objective = Contraction(lambda step: 0.25 * step)
    loss, metrics = _loss(objective, step=8)
    expected = 2 * np.asarray(metrics["contraction"])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_closed_form_of_a_sigmoid_layer_is_its_jacobian():
    module, x = ContractiveSigmoid(4), jnp.asarray(X)
    params = jax.jit(module.init)(KEY, x, KEY)
    latent = jax.device_get(jax.jit(module.apply)(params, x, KEY))
    code = jax.jacfwd(lambda x: module.apply(params, x[None], KEY).mean[0])
    jacobian = np.asarray(jax.jit(jax.vmap(code))(x))
    expected = np.square(jacobian).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(latent.penalty, expected, rtol=1e-5)
    assert latent.z.shape == (1, 8, 4)
    assert (latent.z > 0).all() and (latent.z < 1).all()


@partial(jax.jit, static_argnums=0)
def _objective(recipe, params):
    """Loss per example and metrics of a recipe at given parameters."""
    batch = model_batch(recipe, {"x": jnp.asarray(X)}, KEY)
    trace = recipe.module.apply({"params": params}, batch, KEY)

    def encode(params, inputs):
        inputs = {**batch, "inputs": inputs}
        return recipe.module.apply({"params": params}, inputs, KEY, method="encode")

    context = Context(KEY, jnp.asarray(0), batch, params, encode, None)
    return recipe.objective.loss(recipe.objective.init(KEY, trace), trace, context)


def test_both_ways_to_the_penalty_are_one_loss():
    closed = contractive_autoencoder((3, 2), 4, weight=0.3)
    network = jaxae.networks.FullyConnected(())
    other = contractive_autoencoder(
        (3, 2), 4, weight=0.3, estimator="exact", network=network
    )
    batch = model_batch(closed, {"x": jnp.asarray(X)}, KEY)
    params = jax.jit(closed.module.init)(KEY, batch, KEY)["params"]
    loss, metrics = _objective(closed, params)
    other_loss, other_metrics = _objective(other, params)
    np.testing.assert_allclose(loss, other_loss, rtol=1e-5)
    expected = 0.3 * np.asarray(other_metrics["contraction"])
    np.testing.assert_allclose(metrics["penalty_nats"], expected, rtol=1e-5)
    assert (expected > 0).all()


@pytest.mark.parametrize("estimator", ["closed_form", "exact", "hutchinson"])
def test_the_recipe_trains(estimator):
    recipe = contractive_autoencoder((3, 2), 4, estimator=estimator)
    fitted = jaxae.fit(recipe, X, key=KEY, epochs=2, batch_size=8, progress=False)
    codes = jaxae.encode(fitted.model, X)
    assert codes.shape == (8, 4) and (codes > 0).all() and (codes < 1).all()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda: Contraction(-1.0), "weight"),
        (lambda: Contraction(1.0, "trace"), "estimator"),
        (lambda: ContractiveSigmoid(0), "latent_dim"),
        (lambda: contractive_autoencoder((6,), weight=-1.0), "weight"),
        (lambda: contractive_autoencoder((6,), estimator="trace"), "estimator"),
        (lambda: contractive_autoencoder((6,), network="mlp"), "network"),
    ],
)
def test_bad_arguments_are_named(wrong, name):
    with pytest.raises((ValueError, TypeError), match=name):
        wrong()
