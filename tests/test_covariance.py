"""DIP-VAE's penalty against NumPy, where it is zero, weights and several devices."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxae import networks
from jaxae.bottlenecks.gaussian import diagonal_normal, standard_normal
from jaxae.objectives import ELBO, Chain, CovariancePenalty
from jaxae.recipes import dip_vae
from jaxae.training.loss import batch_loss
from jaxae.types import Context, Latent, Trace

B, D = 12, 3
RNG = np.random.default_rng(0)
MEAN = (RNG.normal(size=(B, D)) @ RNG.normal(size=(D, D)) + 5.0).astype(np.float32)
STD = np.exp(0.4 * RNG.normal(size=(B, D))).astype(np.float32)
WEIGHT = np.array([1, 2, 0, 1, 1, 3, 1, 0, 1, 1, 2, 1], np.float32)


@partial(jax.jit, static_argnums=0)
def evaluate(objective, mean, std, weight=None, step=0):
    q = diagonal_normal(mean[None], std[None])
    latent = Latent(mean[None], mean, q, standard_normal(mean.shape[1]))
    batch = {} if weight is None else {"weight": weight}
    context = Context(jax.random.key(0), jnp.asarray(step), batch, {}, None, None)
    return objective.loss({}, Trace(mean, mean, None, None, (latent,)), context)


def by_loops(mean, std, kind):
    """The two sums, one entry at a time."""
    mean, std = mean.astype(np.float64), std.astype(np.float64)
    apart = spread = 0.0
    for i in range(D):
        for j in range(D):
            a, b = mean[:, i], mean[:, j]
            entry = (a * b).mean() - a.mean() * b.mean()
            if i != j:
                apart += entry**2
                continue
            if kind == "ii":
                entry += np.mean(std[:, i] ** 2)
            spread += (entry - 1) ** 2
    return apart, spread


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_the_sums_against_loops(kind):
    loss, metrics = evaluate(CovariancePenalty(kind, 3.0, 0.5), MEAN, STD)
    apart, spread = by_loops(MEAN, STD, kind)
    assert apart > 1 and spread > 1
    for name, expected in (("off_diagonal", apart), ("diagonal", spread)):
        found = metrics[f"covariance_{name}"]
        np.testing.assert_allclose(found, np.full(B, expected), rtol=2e-5)
    np.testing.assert_allclose(loss, 3.0 * apart + 0.5 * spread, rtol=2e-5)


def whitened(variance):
    """Codes whose covariance is the identity times this, to rounding."""
    x = RNG.normal(size=(B, D))
    x = x - x.mean(axis=0)
    root = np.linalg.cholesky(x.T @ x / B)
    return (np.sqrt(variance) * x @ np.linalg.inv(root).T).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def slope(objective, mean, std):
    return jax.grad(lambda mean: evaluate(objective, mean, std)[0][0])(mean)


def test_a_whitened_code_costs_nothing():
    std = np.full((B, D), 0.6, np.float32)
    for kind, variance in (("i", 1.0), ("ii", 1.0 - 0.36)):
        objective = CovariancePenalty(kind, 1.0, 1.0)
        loss, _ = evaluate(objective, whitened(variance) + 4.0, std)
        # Squares of the rounding of means at 4.
        np.testing.assert_allclose(loss, 0.0, atol=1e-11)
        grad = slope(objective, whitened(variance), std)
        np.testing.assert_allclose(grad, 0.0, atol=1e-6)
        # Further out, every variance is 2.25 times as large.
        loss, _ = evaluate(objective, 1.5 * whitened(variance), std)
        np.testing.assert_allclose(loss, D * (1.25 * variance) ** 2, rtol=1e-4)


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_a_weight_is_as_many_copies(kind):
    objective = CovariancePenalty(kind, 3.0, 0.5)
    rows = np.repeat(np.arange(B), WEIGHT.astype(int))
    copies, _ = evaluate(objective, MEAN[rows], STD[rows])
    nowhere = np.where(WEIGHT[:, None] > 0, MEAN, np.inf).astype(np.float32)
    for mean in (MEAN, nowhere):
        weighed, _ = evaluate(objective, mean, STD, WEIGHT)
        np.testing.assert_allclose(weighed, copies[0], rtol=1e-5)
    plain, _ = evaluate(objective, MEAN, STD)
    assert abs(plain[0] / copies[0] - 1) > 0.01
    nothing, _ = evaluate(objective, MEAN, STD, np.zeros(B, np.float32))
    np.testing.assert_allclose(nothing, 0.5 * D)


def test_schedules():
    objective = CovariancePenalty("i", lambda step: 0.5 * step, 0.0)
    loss, metrics = evaluate(objective, MEAN, STD, None, np.int32(6))
    np.testing.assert_allclose(loss, 3 * metrics["covariance_off_diagonal"], rtol=1e-6)


def test_recipe_on_eight_devices():
    options = {"network": networks.FullyConnected((6,)), "likelihood": "gaussian"}
    recipe = dip_vae((5,), 2, kind="ii", **options)
    key = jax.random.key(0)
    x = jnp.asarray(np.random.default_rng(0).random((16, 5), np.float32))
    params = jax.jit(recipe.module.init)(key, {"x": x, "inputs": x}, key)["params"]

    @jax.jit
    def loss(params, x):
        both = {"model": params, "objective": ({}, {})}
        value, (metrics, _, _) = batch_loss(
            recipe, both, {}, {"x": x}, key, jnp.asarray(0)
        )
        return value, metrics

    value, metrics = loss(params, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    value_spread, metrics_spread = loss(params, spread)
    np.testing.assert_allclose(value_spread, value, rtol=1e-5)
    metrics, metrics_spread = jax.device_get((metrics, metrics_spread))
    for name in ("covariance_off_diagonal", "covariance_diagonal"):
        np.testing.assert_allclose(metrics_spread[name], metrics[name], rtol=1e-4)
        assert metrics[name] > 0
    parts = [metrics[f"covariance_{name}"] for name in ("off_diagonal", "diagonal")]
    expected = 10 * parts[0] + 10 * parts[1] - metrics["elbo_nats"]
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_recipe_has_the_weights_of_the_paper():
    for kind, diagonal in (("i", 100.0), ("ii", 10.0)):
        expected = Chain((ELBO(), CovariancePenalty(kind, 10.0, diagonal)))
        assert dip_vae((4,), kind=kind).objective == expected
    given = dip_vae((4,), off_diagonal=2.0, diagonal=3.0).objective
    assert given == Chain((ELBO(), CovariancePenalty("i", 2.0, 3.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "iii"}, r"^kind must be one of i, ii, got 'iii'"),
        ({"off_diagonal": -1.0}, r"^off_diagonal must be"),
        ({"diagonal": -1.0}, r"^diagonal must be"),
    ],
)
def test_bad_arguments(monkeypatch, options, message):
    # Without the run-time type check, which is ours and not the user's.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for make in (CovariancePenalty, partial(dip_vae, (4,))):
        with pytest.raises(ValueError, match=message):
            make(**options)


def test_a_code_without_a_normal_posterior_is_refused():
    latent = Latent(jnp.zeros((1, B, D)), jnp.zeros((B, D)))
    trace = Trace(MEAN, MEAN, None, None, (latent,))
    context = Context(jax.random.key(0), 0, {}, {}, None, None)
    with pytest.raises(ValueError, match=r"^the posterior must be a factorised normal"):
        CovariancePenalty().loss({}, trace, context)
