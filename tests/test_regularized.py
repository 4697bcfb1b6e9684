"""The penalties of regularised auto-encoders, and spectral normalisation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import jaxae
from jaxae.distributions.elementwise import Normal
from jaxae.networks.spectral import SpectralMLPDecoder
from jaxae.objectives.regularized import (
    CodePenalty,
    DecoderGradientPenalty,
    DecoderWeightDecay,
)
from jaxae.recipes.regularized import regularized_autoencoder
from jaxae.types import Context, Latent, Trace

K, B = 2, 8
RNG = np.random.default_rng(0)
TOP = RNG.normal(size=(K, B, 2)).astype(np.float32)
BOTTOM = RNG.normal(size=(K, B, 1, 3)).astype(np.float32)
X = RNG.random((B, 4)).astype(np.float32)
KEY = jax.random.key(0)


def _params():
    normal = np.random.default_rng(1).normal
    decoder = {
        "top": np.float32(normal(size=(2, 4))),
        "bottom": np.float32(normal(size=(3, 4))),
    }
    return {"decoder": decoder, "encoder": np.full(3, 100, np.float32)}


def _mean(params, top, bottom):
    part = bottom[..., 0, :] @ params["decoder"]["bottom"]
    return jnp.sin(top @ params["decoder"]["top"]) * jnp.tanh(part)


def _decode(params, codes):
    return Normal(_mean(params, *codes), jnp.ones(())).to_event(1)


@partial(jax.jit, static_argnums=0)
def _loss(objective, key=KEY, step=0, params=None):
    params = _params() if params is None else params
    latents = tuple(Latent(jnp.asarray(z), jnp.asarray(z[0])) for z in (TOP, BOTTOM))
    x = jnp.asarray(X)
    trace = Trace(x, x, None, None, latents)
    context = Context(key, jnp.asarray(step), {}, params, None, _decode)
    return objective.loss({}, trace, context)


@jax.jit
def _exact_gradient(params):
    """||J||_F² with respect to both codes, one example and one sample at a time."""
    one = jax.jacrev(lambda top, bottom: _mean(params, top, bottom), argnums=(0, 1))
    jacobians = jax.vmap(jax.vmap(one))(jnp.asarray(TOP), jnp.asarray(BOTTOM))
    squares = [jnp.square(j).reshape(K, B, -1).sum(-1) for j in jacobians]
    return (squares[0] + squares[1]).mean(axis=0)


def test_the_code_penalty_is_half_the_squared_norm():
    loss, metrics = _loss(CodePenalty(3.0))
    norm = (TOP**2).sum(-1) + (BOTTOM**2).sum((-1, -2))
    np.testing.assert_allclose(metrics["code_penalty"], norm.mean(0) / 2, rtol=1e-5)
    np.testing.assert_allclose(loss, 1.5 * norm.mean(0), rtol=1e-5)


def test_weight_decay_charges_the_decoder_alone():
    loss, metrics = _loss(DecoderWeightDecay(0.5))
    decoder = _params()["decoder"]
    norm = sum(float((np.float64(p) ** 2).sum()) for p in decoder.values())
    np.testing.assert_allclose(loss, np.full(B, 0.5 * norm), rtol=1e-5)
    np.testing.assert_allclose(metrics["decoder_weight_decay"], norm, rtol=1e-5)


def test_weight_decay_needs_a_decoder():
    with pytest.raises(ValueError, match="'decoder'"):
        _loss(DecoderWeightDecay(1.0), params={"encoder": np.ones(2)})


def test_the_exact_gradient_penalty_is_the_jacobian():
    loss, metrics = _loss(DecoderGradientPenalty(0.5, "exact"))
    expected = _exact_gradient(_params())
    np.testing.assert_allclose(metrics["decoder_gradient"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, 0.5 * expected, rtol=1e-5)


def test_the_estimated_gradient_penalty_is_the_jacobian_in_expectation():
    objective = DecoderGradientPenalty(1.0)
    keys = jax.random.split(KEY, 4000)
    draws = np.float64(jax.jit(jax.vmap(lambda k: _loss(objective, k)[0]))(keys))
    error = draws.std(axis=0) / np.sqrt(len(draws))
    expected = np.float64(_exact_gradient(_params()))
    assert (np.abs(draws.mean(axis=0) - expected) < 5 * error).all()
    assert (error > 0).all() and (error < 0.1 * expected).all()


def test_the_gradient_penalty_trains_the_decoder():
    objective = DecoderGradientPenalty(1.0, "exact")
    loss = jax.grad(lambda p: _loss(objective, params=p)[0].sum())
    exact = jax.grad(lambda p: _exact_gradient(p).sum())
    grads, expected = jax.jit(loss)(_params()), jax.jit(exact)(_params())
    for name, grad in grads["decoder"].items():
        np.testing.assert_allclose(
            grad, expected["decoder"][name], rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize(
    ("make", "metric"),
    [
        (CodePenalty, "code_penalty"),
        (DecoderWeightDecay, "decoder_weight_decay"),
        (DecoderGradientPenalty, "decoder_gradient"),
    ],
)
def test_the_weight_may_be_a_schedule(make, metric):
    loss, metrics = _loss(make(lambda step: 0.5 * step), step=4)
    np.testing.assert_allclose(loss, 2 * metrics[metric], rtol=1e-6)


# Spectral normalisation


def _spectral(steps):
    """A decoder of one layer (a matrix and a bias), after power iterations."""
    module, z = SpectralMLPDecoder((3, 2), ()), jnp.asarray(np.zeros((1, 4), "f4"))
    variables = jax.jit(module.init)(KEY, z)

    def step(_, stats):
        given = {"params": variables["params"], "batch_stats": stats}
        return module.apply(given, z, train=True, mutable=["batch_stats"])[1][
            "batch_stats"
        ]

    stats = jax.jit(lambda s: jax.lax.fori_loop(0, steps, step, s))(
        variables["batch_stats"]
    )
    return module, {"params": variables["params"], "batch_stats": stats}


def test_effective_kernels_have_spectral_norm_one():
    module, variables = _spectral(300)
    rows = np.eye(5, 4, -1, np.float32)
    outputs = np.float64(jax.jit(module.apply)(variables, rows))
    kernel = (outputs[1:] - outputs[:1]).reshape(4, 6)
    (raw,) = (p for p in jax.tree.leaves(variables["params"]) if p.ndim == 2)
    assert np.linalg.norm(kernel, 2) == pytest.approx(1, abs=1e-3)
    largest = np.linalg.norm(np.float64(raw), 2)
    np.testing.assert_allclose(kernel, np.asarray(raw) / largest, atol=1e-3)
    assert abs(largest - 1) > 0.05


def test_statistics_change_in_training_alone():
    module = SpectralMLPDecoder((4,), (5,))

    @jax.jit
    def run(z):
        variables = module.init(KEY, z)
        seen = (
            module.apply(variables, z, train=train, mutable=["batch_stats"])[1]
            for train in (False, True)
        )
        return variables, *seen

    z = np.float32(np.random.default_rng(2).normal(size=(B, 2)))
    variables, same, new = jax.device_get(run(z))
    old, same, new = (tree["batch_stats"] for tree in (variables, same, new))
    jax.tree.map(np.testing.assert_array_equal, old, same)
    # Of a normalised kernel the largest singular value may stay at exactly 1.
    vectors = [name for name in flatten_dict(old, sep=".") if name.endswith("/u")]
    assert len(vectors) == 2
    flat_old, flat_new = flatten_dict(old, sep="."), flatten_dict(new, sep=".")
    assert all((flat_old[name] != flat_new[name]).any() for name in vectors)


# The recipe


@pytest.mark.parametrize("regularizer", ["l2", "gradient_penalty", "spectral_norm"])
@pytest.mark.slow
def test_the_recipe_trains(regularizer):
    recipe = regularized_autoencoder((4,), 2, regularizer=regularizer)
    fitted = jaxae.fit(recipe, X, key=KEY, epochs=2, batch_size=8, progress=False)
    assert jaxae.encode(fitted.model, X).shape == (B, 2)
    assert np.isfinite(jaxae.reconstruct(fitted.model, X)).all()


def test_a_trained_spectral_decoder_does_not_stretch():
    recipe = regularized_autoencoder((4,), 2, regularizer="spectral_norm")
    fitted = jaxae.fit(recipe, X, key=KEY, epochs=40, batch_size=8, progress=False)
    codes = RNG.normal(size=(20, 2)).astype(np.float32)
    x = np.asarray(jaxae.decode(fitted.model, codes))
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    codes_apart = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    # The estimates of the norms are a little too small while the kernels change.
    assert (apart <= 1.2 * codes_apart + 1e-6).all()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda: CodePenalty(-1.0), "weight"),
        (lambda: DecoderWeightDecay(-1.0), "weight"),
        (lambda: DecoderGradientPenalty(-1.0), "weight"),
        (lambda: DecoderGradientPenalty(1.0, "trace"), "estimator"),
        (lambda: SpectralMLPDecoder((0,)), "shape"),
        (lambda: SpectralMLPDecoder((2,), (0,)), "hidden"),
        (lambda: regularized_autoencoder((4,), regularizer="l1"), "regularizer"),
        (
            lambda: regularized_autoencoder(
                (4,), regularizer="spectral_norm", network="conv"
            ),
            "network",
        ),
        (
            lambda: regularized_autoencoder(
                (4,), regularizer="spectral_norm", weight=0.1
            ),
            "weight",
        ),
    ],
)
def test_bad_arguments_are_named(wrong, name):
    # The shapes' checker is first where a literal is none of the known ones.
    with pytest.raises((ValueError, TypeError), match=name):
        wrong()
