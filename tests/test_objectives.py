"""Objectives against formulas written by hand, in numpy, from the trace's numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
import scipy.stats
from flax import linen as nn
from numpyro.distributions import Normal

from jaxae import bottlenecks, networks, recipes
from jaxae.distributions import elementwise as distributions
from jaxae.likelihoods import Gaussian
from jaxae.models.autoencoder import AutoEncoder
from jaxae.objectives import (
    ELBO,
    Chain,
    Objective,
    Reconstruction,
    Stateless,
    log_likelihood,
)
from jaxae.types import Context, Latent, Trace

K, B, D, EVENT, STD = 3, 4, 2, (2, 3, 2), 0.7
RNG = np.random.default_rng(0)
MEAN = RNG.normal(size=(B, D)).astype(np.float32)
LOG_STD = (0.5 * RNG.normal(size=(B, D))).astype(np.float32)
Z = RNG.normal(size=(K, B, D)).astype(np.float32)
OUTPUT = RNG.normal(size=(K, B, *EVENT)).astype(np.float32)
TARGET = RNG.normal(size=(B, *EVENT)).astype(np.float32)
MASK = RNG.random((B, *EVENT[:2], 1)) < 0.4
PENALTY = RNG.random(B).astype(np.float32)


def _trace(mean=MEAN, log_std=LOG_STD, *, z=Z, output=OUTPUT, target=TARGET, mask=MASK):
    """A trace without a model; posterior and prior are left out if `mean` is None."""
    posterior = prior = None
    if mean is not None:
        exp = jnp.exp if isinstance(log_std, jax.Array) else np.exp
        posterior = Normal(mean[None], exp(log_std)[None]).to_event(1)
        zero = np.zeros((1, *mean.shape), np.float32)
        prior = Normal(*jax.device_put((zero, zero + 1))).to_event(1)
    z = jax.device_put(z)
    latent = Latent(z, z[0], posterior, prior, penalty=jax.device_put(PENALTY))
    likelihood = distributions.Normal(jax.device_put(output), jax.device_put(STD))
    target, mask = jax.device_put((target, mask))
    return Trace(target, target, mask, likelihood.to_event(len(EVENT)), (latent,))


def _context(key, step):
    """Of objectives that do not call the model."""
    return Context(key, jnp.asarray(step), {}, {}, None, None)


@partial(jax.jit, static_argnums=0)
def _loss(objective, trace, step=0):
    context = _context(jax.random.key(0), step)
    params = objective.init(jax.random.key(1), trace)
    return objective.loss(params, trace, context)


def _rate(mean=MEAN, log_std=LOG_STD):
    """KL(N(mean, std²) || N(0, 1)) of every dimension, in float64."""
    mean, log_std = np.float64(mean), np.float64(log_std)
    return 0.5 * (mean**2 + np.exp(2 * log_std) - 1) - log_std


def _distortion(output=OUTPUT, counts=None):
    """-log N(target; output, STD²), mean over the samples, summed where it counts."""
    each = -scipy.stats.norm.logpdf(TARGET, output, STD)
    if counts is not None:
        each = each * counts
    return each.sum(axis=(2, 3, 4)).mean(axis=0)


# Sums of float32 numbers of size 10 or so.
close = pytest.approx
RTOL = 2e-5


# The evidence lower bound


def test_elbo_is_distortion_plus_rate_plus_penalty():
    loss, metrics = _loss(ELBO(), _trace())
    distortion, rate = _distortion(), _rate().sum(-1)
    np.testing.assert_allclose(loss, distortion + rate + PENALTY, RTOL)
    np.testing.assert_allclose(metrics["distortion_nats"], distortion, RTOL)
    np.testing.assert_allclose(metrics["rate_nats"], rate, RTOL)
    np.testing.assert_allclose(metrics["elbo_nats"], -distortion - rate, RTOL)


def test_the_rate_is_the_integral_of_the_log_ratio():
    # Integrated without the closed form; the trapezoid is exact for such tails.
    z = np.linspace(-20, 20, 20_001)[:, None, None]
    q = scipy.stats.norm(MEAN, np.exp(LOG_STD))
    integrand = q.pdf(z) * (q.logpdf(z) - scipy.stats.norm.logpdf(z))
    expected = np.trapezoid(integrand, dx=z[1, 0, 0] - z[0, 0, 0], axis=0).sum(-1)
    np.testing.assert_allclose(
        _loss(ELBO(), _trace())[1]["rate_nats"], expected, rtol=1e-5
    )


def test_the_monte_carlo_rate_is_the_analytic_one_in_expectation():
    count = 20_000
    noise = np.random.default_rng(1).normal(size=(count, B, D))
    z = (MEAN + np.exp(LOG_STD) * noise).astype(np.float32)
    # Per sample, so that its spread says how far the mean may be off.
    one = jax.jit(
        jax.vmap(
            lambda z: _loss(
                ELBO(kl="monte_carlo"), _trace(z=z[None], output=OUTPUT[:1])
            )
        )
    )
    rates = np.asarray(one(jnp.asarray(z))[1]["rate_nats"])
    error = rates.std(axis=0) / np.sqrt(count)
    assert np.all(np.abs(rates.mean(axis=0) - _rate().sum(-1)) < 5 * error)
    assert error.max() < 0.02


def test_the_monte_carlo_rate_is_the_mean_over_the_samples():
    q, p = scipy.stats.norm(MEAN, np.exp(LOG_STD)), scipy.stats.norm
    expected = (q.logpdf(Z) - p.logpdf(Z)).sum(-1).mean(0)
    loss, metrics = _loss(ELBO(kl="monte_carlo"), _trace())
    np.testing.assert_allclose(metrics["rate_nats"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss, _distortion() + expected + PENALTY, rtol=1e-4)


@pytest.mark.parametrize(
    "objective", [ELBO(), ELBO(kl="monte_carlo"), ELBO(2.0), Reconstruction()]
)
def test_samples_are_averaged(objective):
    alone = [
        _loss(objective, _trace(z=Z[i : i + 1], output=OUTPUT[i : i + 1]))[0]
        for i in range(K)
    ]
    together, _ = _loss(objective, _trace())
    np.testing.assert_allclose(together, np.mean(alone, axis=0), RTOL)


@pytest.mark.parametrize(
    ("beta", "step", "expected"),
    [
        (0.0, 0, 0.0),
        (4.0, 0, 4.0),
        (optax.linear_schedule(0.0, 1.0, 10), 0, 0.0),
        (optax.linear_schedule(0.0, 1.0, 10), 3, 0.3),
        (optax.linear_schedule(0, 1, 10), 99, 1.0),
        (optax.cosine_onecycle_schedule(10, 1.0), 3, 1.0),
        (optax.constant_schedule(2), 5, 2.0),
        (lambda step: 0.5, 5, 0.5),
    ],
)
def test_beta_is_a_number_or_a_schedule(beta, step, expected):
    loss, metrics = jax.jit(lambda step: _loss(ELBO(beta), _trace(), step))(step)
    rate = _rate().sum(-1)
    np.testing.assert_allclose(loss, _distortion() + expected * rate + PENALTY, RTOL)
    # The metric is the bound itself, whatever beta is.
    np.testing.assert_allclose(metrics["elbo_nats"], -_distortion() - rate, RTOL)


# Free bits. Dimension 0 has KLs above and below λ = 1 with the mean above it, dimension
# 1 the same with the mean below it: the mean over the batch decides.

FREE_MEAN = np.array([[3.0, 1.8], [0.1, 0.1], [2.0, 0.0], [0.0, 0.2]], np.float32)
FREE_LOG_STD = np.full((B, D), -0.1, np.float32)


def _free(free_bits):
    @jax.jit
    def mean_loss(mean, log_std):
        return _loss(ELBO(free_bits=free_bits), _trace(mean, log_std))[0].mean()

    return jax.value_and_grad(mean_loss, argnums=(0, 1))(FREE_MEAN, FREE_LOG_STD)


def test_free_bits_charge_lambda_below_it_and_the_rate_above():
    each = _rate(FREE_MEAN, FREE_LOG_STD)
    assert each[:, 0].mean() > 1 > each[1, 0] and each[0, 1] > 1 > each[:, 1].mean()
    charge = each[:, 0].mean() + 1.0
    loss, _ = _free(1.0)
    assert loss == close((_distortion() + PENALTY).mean() + charge, rel=RTOL)


def test_free_bits_stop_the_gradient_below_and_leave_it_above():
    _, plain = _free(0.0)
    _, free = _free(1.0)
    for with_bits, without in zip(free, plain, strict=True):
        np.testing.assert_array_equal(with_bits[:, 0], without[:, 0])
        np.testing.assert_array_equal(with_bits[:, 1], 0.0)
    # d KL / d mean = mean and d KL / d log_std = std² - 1, over the batch.
    np.testing.assert_allclose(plain[0], FREE_MEAN / B, RTOL, atol=1e-7)
    np.testing.assert_allclose(plain[1], np.expm1(2 * FREE_LOG_STD) / B, RTOL)


def test_free_bits_below_every_rate_change_nothing():
    objective = ELBO(free_bits=1e-3)
    assert _rate().mean(0).min() > 1e-3
    assert np.array_equal(_loss(objective, _trace())[0], _loss(ELBO(), _trace())[0])


def test_the_metrics_are_without_free_bits():
    _, metrics = _loss(ELBO(free_bits=100.0), _trace())
    np.testing.assert_allclose(metrics["rate_nats"], _rate().sum(-1), RTOL)
    np.testing.assert_allclose(
        metrics["elbo_nats"], -_distortion() - _rate().sum(-1), RTOL
    )


# Through the model


class _Identity(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return x


def test_gradients_are_those_of_the_reparameterised_sample():
    """The encoder puts out (mean, log_std) and the decoder is the identity.

    Then loss = (x - z)²/2 + KL with z = mean + std·ε, and by hand
    d/d mean = z - x + mean, d/d log_std = (z - x)·std·ε + std² - 1.
    """
    model = AutoEncoder(
        (D,),
        _Identity(),
        bottlenecks.Gaussian(D),
        _Identity(),
        Gaussian(1.0),
        input_shape=(2 * D,),
    )
    dense = {"kernel": jnp.eye(2 * D), "bias": jnp.zeros(2 * D)}
    variables = {"params": {"bottleneck": {"Dense_0": dense}}}
    x = RNG.normal(size=(B, D)).astype(np.float32)

    @jax.jit
    @jax.value_and_grad
    def total_and_z(h):
        # Only the code's dimensions are explained: the "image" is the posterior.
        batch = {"inputs": h, "x": jnp.asarray(x)}
        trace = model.apply(variables, batch, jax.random.key(2), num_samples=K)
        return _loss(ELBO(), trace)[0].sum()

    h = jnp.concatenate([MEAN, LOG_STD], axis=-1)
    loss, grads = total_and_z(h)
    (latent,) = model.apply(
        variables, {"inputs": h}, jax.random.key(2), num_samples=K, method="encode"
    )
    z, std = np.asarray(latent.z), np.exp(LOG_STD)
    epsilon = (z - MEAN) / std
    by_mean = (z - x + MEAN).mean(0)
    by_log_std = ((z - x) * std * epsilon + std**2 - 1).mean(0)
    # ε is found again from z, with the rounding of z - mean.
    np.testing.assert_allclose(grads[:, :D], by_mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads[:, D:], by_log_std, rtol=1e-4, atol=1e-5)
    squares = 0.5 * ((x - z) ** 2 + np.log(2 * np.pi)).sum(-1).mean(0)
    assert loss == close((squares + _rate().sum(-1)).sum(), rel=RTOL)


def test_the_sparsity_penalty_enters_the_loss_and_its_gradient():
    def mean_loss(h, l1):
        model = AutoEncoder(
            (D,),
            _Identity(),
            bottlenecks.Deterministic(None, l1),
            _Identity(),
            Gaussian(),
        )
        batch = {"inputs": h, "x": jnp.zeros_like(h)}
        trace = model.apply({}, batch, jax.random.key(0))
        loss, metrics = _loss(Reconstruction(), trace)
        return loss.mean(), metrics

    h = jnp.asarray(MEAN)
    (loss, metrics), grad = jax.value_and_grad(mean_loss, has_aux=True)(h, 0.3)
    (plain, _), plain_grad = jax.value_and_grad(mean_loss, has_aux=True)(h, 0.0)
    charge = 0.3 * np.abs(MEAN).sum(-1)
    np.testing.assert_allclose(metrics["penalty_nats"], charge, RTOL)
    assert loss - plain == close(charge.mean(), rel=1e-4)
    np.testing.assert_allclose(grad - plain_grad, 0.3 * np.sign(MEAN) / B, rtol=1e-4)


# Regions


COUNTS = {"all": np.ones_like(MASK), "hole": MASK, "outside": ~MASK}


@pytest.mark.parametrize("region", COUNTS)
@pytest.mark.parametrize("objective", [Reconstruction, ELBO])
def test_a_region_counts_its_own_values(objective, region):
    _, metrics = _loss(objective(region=region), _trace())
    expected = _distortion(counts=COUNTS[region])
    np.testing.assert_allclose(metrics["distortion_nats"], expected, RTOL)


def test_hole_and_outside_are_all():
    parts = [log_likelihood(_trace(), region) for region in ("hole", "outside")]
    np.testing.assert_allclose(sum(parts), log_likelihood(_trace()), RTOL)


def test_a_mask_may_be_of_values():
    mask = np.random.default_rng(2).random((B, *EVENT)) < 0.5
    found = log_likelihood(_trace(mask=mask), "hole").mean(0)
    np.testing.assert_allclose(found, -_distortion(counts=mask), RTOL)


def test_all_needs_no_mask():
    found = log_likelihood(_trace(mask=None)).mean(0)
    np.testing.assert_allclose(found, -_distortion(), RTOL)


def _region_grad(region, output):
    def total(output):
        return _loss(Reconstruction(region), _trace(output=output))[0].sum()

    return jax.jit(jax.value_and_grad(total))(jnp.asarray(output))


@pytest.mark.parametrize("region", ["hole", "outside"])
def test_values_elsewhere_have_no_gradient(region):
    _, grad = _region_grad(region, OUTPUT)
    counts = np.broadcast_to(COUNTS[region], OUTPUT.shape)
    expected = (OUTPUT - TARGET) / STD**2 / K
    np.testing.assert_allclose(grad[counts], expected[counts], RTOL)
    assert np.all(np.asarray(grad)[~counts] == 0)


@pytest.mark.parametrize("region", ["hole", "outside"])
def test_infinite_values_elsewhere_do_not_poison(region):
    # So far off that the square overflows: log p = -inf.
    output = np.where(COUNTS[region], OUTPUT, np.float32(1e30))
    assert np.all(np.isneginf(log_likelihood(_trace(output=output))))
    loss, grad = _region_grad(region, output)
    expected = _distortion(counts=COUNTS[region]) + PENALTY
    assert loss == close(expected.sum(), rel=RTOL)
    assert np.isfinite(grad).all()


# Sums


def _draws(name):
    """Logs a number drawn with its own key, and costs 2."""

    def loss(trace, context):
        draw = jax.random.normal(context.key, (B,))
        return jnp.full(B, 2.0), {name: draw}

    return Stateless(loss)


def test_chain_adds_losses_and_keeps_all_metrics():
    loss, metrics = _loss(Chain((ELBO(), _draws("a"), _draws("b"))), _trace())
    alone, own = _loss(ELBO(), _trace())
    np.testing.assert_allclose(loss, alone + 4.0, RTOL)
    assert metrics.keys() == {*own, "a", "b"}
    np.testing.assert_array_equal(metrics["rate_nats"], own["rate_nats"])


def test_chain_gives_every_part_its_own_key():
    _, metrics = _loss(Chain((_draws("a"), _draws("b"))), _trace())
    assert not np.array_equal(metrics["a"], metrics["b"])


def test_chain_gives_every_part_its_own_params():
    class Critic(Objective):
        name: str

        def init(self, key, trace):
            return jax.random.normal(key, ())

        def loss(self, params, trace, context):
            return jnp.full(B, params), {self.name: jnp.full(B, params)}

    loss, metrics = _loss(Chain((Critic("a"), Critic("b"))), _trace())
    assert metrics["a"][0] != metrics["b"][0]
    np.testing.assert_allclose(loss, metrics["a"] + metrics["b"])


# Errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ELBO(-1.0), "beta must be a schedule or at least 0, got -1.0"),
        (lambda: ELBO(float("nan")), "beta must be .* got nan"),
        (
            lambda: ELBO(free_bits=-0.5),
            "free_bits must be a schedule or at least 0, got -0.5",
        ),
        (
            lambda: ELBO(kl="monte_carlo", free_bits=0.5),
            "free_bits must be 0 unless kl is 'auto', got 0.5",
        ),
        (lambda: Chain(()), "objectives must be a tuple of at least one"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("objective", "trace", "message"),
    [
        (ELBO(), _trace(None), "this objective needs a posterior and a prior"),
        (Reconstruction("hole"), _trace(mask=None), "region must be 'all' where"),
        (ELBO(region="outside"), _trace(mask=None), "region must be 'all' where"),
        (
            Chain((ELBO(), Reconstruction())),
            _trace(),
            r"objectives must log different metrics, twice: \['distortion",
        ),
    ],
)
def test_what_the_trace_lacks_is_named(objective, trace, message):
    with pytest.raises(ValueError, match=message):
        _loss(objective, trace)


def test_an_unknown_choice_is_named(monkeypatch):
    # Without the run-time type check, which is ours and not the user's.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"region must be one of .* got 'inside'"):
        log_likelihood(_trace(), "inside")
    with pytest.raises(ValueError, match=r"kl must be one of .* got 'exact'"):
        ELBO(kl="exact")


def test_the_penalty_and_free_bits_take_schedules():
    def weight(step):
        return 3.0 * step

    recipe = recipes.autoencoder(
        (3,), 2, network=networks.FullyConnected(()), l1=weight
    )
    model, x = recipe.module, jnp.ones((4, 3))
    key = jax.random.key(0)
    trace, _ = jax.jit(model.init_with_output)(key, {"x": x, "inputs": x}, key)
    absolute = jnp.abs(trace.latents[0].z[0]).sum(axis=-1)
    for step in (0, 2):
        context = _context(key, step)
        _, metrics = recipe.objective.loss({}, trace, context)
        np.testing.assert_allclose(metrics["penalty_nats"], 3 * step * absolute)

    recipe = recipes.vae((3,), 2, network=networks.FullyConnected(()), free_bits=weight)
    trace, _ = jax.jit(recipe.module.init_with_output)(key, {"x": x, "inputs": x}, key)
    for step in (0, 1000):
        context = _context(key, step)
        loss, metrics = recipe.objective.loss({}, trace, context)
        charged = loss - metrics["distortion_nats"]
        rate = metrics["rate_nats"] if step == 0 else 2 * 3.0 * step
        np.testing.assert_allclose(charged, rate, rtol=1e-4)
