"""The parts of β-TCVAE against double loops, and against known distributions."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.sharding import AxisType

from jaxae import networks
from jaxae.bottlenecks.gaussian import diagonal_normal, standard_normal
from jaxae.likelihoods import Gaussian
from jaxae.objectives import ELBO
from jaxae.objectives.total_correlation import BetaTCVAE
from jaxae.recipes.importance import beta_tc_vae as recipe_of
from jaxae.training.loss import batch_loss
from jaxae.types import Context, Latent, Trace

PARTS = ("mutual_information_nats", "total_correlation_nats", "dimension_kl_nats")
SAMPLINGS = ("weighted", "stratified")
K, B, D, N = 2, 5, 3, 40
RNG = np.random.default_rng(2)
MEAN = RNG.normal(size=(B, D)).astype(np.float32)
STD = np.exp(0.4 * RNG.normal(size=(B, D))).astype(np.float32)
X = RNG.normal(size=(B, 4)).astype(np.float32)


@partial(jax.jit, static_argnames=("k", "key"))
def _trace(mean=MEAN, std=STD, k=K, key=0):
    mean, std = jnp.asarray(mean), jnp.asarray(std)
    q = diagonal_normal(mean[None], std[None])
    z = mean[None] + std[None] * jax.random.normal(
        jax.random.key(key), (k, *mean.shape)
    )
    latent = Latent(z, mean, q, standard_normal(mean.shape[1]))
    x = jnp.resize(jnp.asarray(X), (len(mean), 4))
    output = jnp.broadcast_to(z[..., :1], (k, len(mean), 4))
    return Trace(x, x, None, Gaussian(0.5).apply({}, output), (latent,))


def _evaluate(trace, *arguments, step=0, **options):
    return _loss(BetaTCVAE(*arguments, **options), trace, np.int32(step))


@partial(jax.jit, static_argnums=0)
def _loss(objective, trace, step):
    context = Context(jax.random.key(0), step, {"x": trace.target}, {}, None, None)
    return objective.loss({}, trace, context)


def _parts_by_loops(z, mean, std, data_size, sampling):
    """One sample, one example, one dimension at a time: [3, b]."""
    k, b, d = z.shape
    parts = np.zeros((3, k, b))
    for s, i in itertools.product(range(k), range(b)):
        density = np.zeros((b, d))
        weight = np.zeros(b)
        for n in range(b):
            for j in range(d):
                density[n, j] = scipy.stats.norm.pdf(z[s, i, j], mean[n, j], std[n, j])
            if sampling == "weighted":
                weight[n] = 1 / (data_size * b)
            elif n == i:
                weight[n] = 1 / data_size
            else:
                weight[n] = (data_size - 1) / data_size / (b - 1)
        q = (weight * density.prod(axis=1)).sum()
        q_each = (weight[:, None] * density).sum(axis=0).prod()
        p = scipy.stats.norm.pdf(z[s, i]).prod()
        parts[:, s, i] = (
            np.log(density[i].prod() / q),
            np.log(q / q_each),
            np.log(q_each / p),
        )
    return parts.mean(axis=1)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_parts_against_loops(sampling):
    trace = _trace()
    loss, metrics = _evaluate(trace, N, 4.0, 0.5, 2.0, sampling)
    z = np.asarray(trace.latents[0].z)
    parts = _parts_by_loops(z, MEAN, STD, N, sampling)
    for name, expected in zip(PARTS, parts, strict=True):
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-4, atol=1e-5)
    charged = 0.5 * parts[0] + 4 * parts[1] + 2 * parts[2]
    np.testing.assert_allclose(loss, metrics["distortion_nats"] + charged, rtol=1e-4)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_all_weights_one_is_the_elbo(sampling):
    trace = _trace()
    loss, metrics = _evaluate(trace, N, 1.0, sampling=sampling)
    expected, _ = _loss(ELBO(kl="monte_carlo"), trace, np.int32(0))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    _, of_elbo = _loss(ELBO(), trace, np.int32(0))
    for name in ("elbo_nats", "distortion_nats", "rate_nats"):
        np.testing.assert_allclose(metrics[name], of_elbo[name], rtol=1e-6)


def test_whole_data_set_is_the_exact_aggregate():
    trace = _trace()
    z = np.asarray(trace.latents[0].z, np.float64)[:, :, None]
    each = scipy.stats.norm.logpdf(z, MEAN, STD)
    own = np.diagonal(each.sum(axis=-1), axis1=1, axis2=2)
    log_q = scipy.special.logsumexp(each.sum(axis=-1), axis=2) - np.log(B)
    log_q_each = scipy.special.logsumexp(each, axis=2) - np.log(B)
    information = (own - log_q).mean(axis=0)
    correlation = (log_q - log_q_each.sum(axis=-1)).mean(axis=0)
    # The weighted estimate of every density is too low by the factor B.
    for sampling, low in (("stratified", 0.0), ("weighted", np.log(B))):
        _, metrics = _evaluate(trace, B, 1.0, sampling=sampling)
        found = [metrics[name] for name in PARTS[:2]]
        np.testing.assert_allclose(found[0], information + low, rtol=1e-4)
        np.testing.assert_allclose(
            found[1], correlation + (D - 1) * low, rtol=1e-4, atol=1e-5
        )


def test_stratified_is_unbiased_over_the_batches():
    """The mean of exp(log q(z)) over all batches with example 0 is the aggregate."""
    size, batch = 6, 3
    mean = RNG.normal(size=(size, 2)).astype(np.float32)
    std = np.full((size, 2), 0.7, np.float32)
    z = mean[:1] + 0.3
    estimates = []
    for others in itertools.combinations(range(1, size), batch - 1):
        rows = [0, *others]
        trace = _trace(mean[rows], std[rows], k=1)
        (latent,) = trace.latents
        codes = jnp.asarray(np.tile(z, (1, batch, 1)))
        trace = trace._replace(latents=(latent._replace(z=codes),))
        _, metrics = _evaluate(trace, size, 1.0, sampling="stratified")
        own = scipy.stats.norm.logpdf(z[0], mean[0], std[0]).sum()
        estimates.append(np.exp(own - float(metrics["mutual_information_nats"][0])))
    aggregate = scipy.stats.norm.pdf(z, mean, std).prod(axis=1).mean()
    np.testing.assert_allclose(np.mean(estimates), aggregate, rtol=1e-5)
    assert np.std(estimates) > 0.01 * aggregate


def test_independent_codes_have_no_total_correlation():
    # Means on a grid with equal stds: q(z) is the product of its marginals.
    grid = np.array(list(itertools.product((-1.0, 0.2, 1.5), (0.0, 0.8))), np.float32)
    trace = _trace(grid, np.full(grid.shape, 0.5, np.float32))
    _, metrics = _evaluate(trace, len(grid), 1.0, sampling="stratified")
    np.testing.assert_allclose(metrics["total_correlation_nats"], 0.0, atol=1e-5)


def test_codes_far_apart_name_the_example():
    far = np.arange(8, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    trace = _trace(far, np.full(far.shape, 0.01, np.float32))
    for data_size in (8, 100):
        _, metrics = _evaluate(trace, data_size, 1.0, sampling="stratified")
        found = metrics["mutual_information_nats"]
        np.testing.assert_allclose(found, np.log(data_size), rtol=1e-4)


def test_total_correlation_of_a_gaussian():
    # Posteriors around Gaussian means: q(z) is N(0, covariance) but for 700 examples.
    covariance = np.array([[1.0, 0.65], [0.65, 1.0]])
    std, count = 0.5, 700
    noise = RNG.normal(size=(count, 2))
    noise = (noise - noise.mean(axis=0)) @ np.linalg.inv(
        np.linalg.cholesky(np.cov(noise.T, bias=True))
    ).T
    mean = noise @ np.linalg.cholesky(covariance - std**2 * np.eye(2)).T
    trace = _trace(mean.astype(np.float32), np.full((count, 2), std, np.float32), k=4)
    _, metrics = _evaluate(trace, count, 1.0, sampling="stratified")
    found = metrics["total_correlation_nats"]
    expected = -0.5 * np.log(np.linalg.det(covariance))
    found = np.asarray(found)
    error = found.std() / np.sqrt(count)
    # Beside the noise of the samples that of the means, which are as many.
    assert abs(found.mean() - expected) < 4 * error + 0.02
    assert 4 * error + 0.02 < 0.4 * expected
    information = np.log(np.linalg.det(covariance) / std**4) / 2
    np.testing.assert_allclose(
        np.mean(metrics["mutual_information_nats"]), information, rtol=0.1
    )


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradient_by_finite_differences(sampling):
    noise = np.asarray(jax.random.normal(jax.random.key(7), (1, B, D)), np.float64)

    def loops(mean):
        z = mean[None] + STD[None] * noise
        return np.sum(
            np.array([[0.5], [4.0], [2.0]]) * _parts_by_loops(z, mean, STD, N, sampling)
        )

    def ours(mean):
        trace = _trace(mean, STD, k=1, key=7)
        # Without the distortion, which the loops lack.
        loss, metrics = _evaluate(trace, N, 4.0, 0.5, 2.0, sampling)
        return (loss - metrics["distortion_nats"]).sum()

    grad = np.asarray(jax.jit(jax.grad(ours))(MEAN))
    mean, step = MEAN.astype(np.float64), 1e-5
    for i, j in [(0, 0), (2, 1), (4, 2)]:
        bump = np.zeros((B, D))
        bump[i, j] = step
        slope = (loops(mean + bump) - loops(mean - bump)) / (2 * step)
        np.testing.assert_allclose(grad[i, j], slope, rtol=1e-3, atol=1e-3)


def test_schedules_and_single_examples():
    trace = _trace()
    loss, metrics = _evaluate(trace, N, lambda step: 0.5 * step, 0.0, 0.0, step=6)
    metrics = jax.device_get(metrics)
    charged = 3 * metrics["total_correlation_nats"]
    np.testing.assert_allclose(loss, metrics["distortion_nats"] + charged, rtol=1e-5)
    _, metrics = _evaluate(_trace(MEAN[:1], STD[:1]), N, 1.0, sampling="stratified")
    np.testing.assert_allclose(metrics["mutual_information_nats"], 0.0, atol=1e-6)
    np.testing.assert_allclose(metrics["total_correlation_nats"], 0.0, atol=1e-6)


def test_recipe_on_eight_devices():
    recipe = recipe_of(
        (5,),
        2,
        data_size=100,
        network=networks.FullyConnected((6,)),
        likelihood="gaussian",
    )
    key = jax.random.key(0)
    x = jnp.asarray(np.random.default_rng(0).random((8, 5), np.float32))
    params = jax.jit(recipe.module.init)(key, {"x": x, "inputs": x}, key)["params"]

    @jax.jit
    def loss(params, x):
        both = {"model": params, "objective": {}}
        value, (metrics, _, _) = batch_loss(
            recipe, both, {}, {"x": x}, key, jnp.asarray(0)
        )
        return value, metrics

    value, metrics = loss(params, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    value_spread, metrics_spread = loss(params, spread)
    np.testing.assert_allclose(value_spread, value, rtol=1e-5)
    for name in PARTS:
        np.testing.assert_allclose(metrics_spread[name], metrics[name], rtol=1e-4)
    metrics = jax.device_get(metrics)
    parts = [metrics[name] for name in PARTS]
    expected = metrics["distortion_nats"] + parts[0] + 6 * parts[1] + parts[2]
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"data_size": 0}, "data_size"),
        ({"beta": -1.0}, "beta"),
        ({"alpha": -1.0}, "alpha"),
        ({"gamma": -1.0}, "gamma"),
        ({"sampling": "importance"}, "sampling"),
    ],
)
def test_bad_arguments(monkeypatch, options, named):
    # Without the run-time type check, which is ours and not the user's.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=rf"^{named} must be"):
        BetaTCVAE(**{"data_size": N, "beta": 1.0} | options)
    with pytest.raises(ValueError, match=rf"^{named} must be"):
        recipe_of((5,), 2, **{"data_size": N} | options)


def test_bad_traces():
    trace = _trace()
    (latent,) = trace.latents

    def check(match, data_size=N, latents=None, **changed):
        latents = latents or (latent._replace(**changed),)
        with pytest.raises(ValueError, match=match):
            _evaluate(trace._replace(latents=latents), data_size, 1.0)

    check(r"^data_size must be at least the batch, 5, got 4", data_size=4)
    check(r"is for models with one latent, not 2", latents=(latent, latent))
    check(r"^the posterior must be a factorised normal, got NoneType", posterior=None)
    check(r"^the prior must be factorised, got NoneType", prior=None)
