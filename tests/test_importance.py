"""Importance-weighted bounds on a linear Gaussian model, whose p(x) is known."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxae import networks
from jaxae.bottlenecks.gaussian import diagonal_normal
from jaxae.objectives import ELBO
from jaxae.objectives.importance import IWAE, log_weights
from jaxae.recipes.importance import iwae as iwae_recipe
from jaxae.schedules import Cyclical
from jaxae.training.loss import batch_loss
from jaxae.types import Context, Latent, Trace

B, D, STD = 2, 2, 0.8
RNG = np.random.default_rng(1)
# Orthogonal columns: the exact posterior is then factorised.
W = np.array([[0.9, 0.2], [0.9, -0.2], [0.3, 1.2]], np.float32)
W[:, 1] -= W[:, 0] * (W[:, 0] @ W[:, 1]) / (W[:, 0] @ W[:, 0])
X = RNG.normal(size=(B, 3)).astype(np.float32)
PRECISION = 1 + (W**2).sum(axis=0) / STD**2
EXACT = {
    "mean": X @ W / STD**2 / PRECISION,
    "log_std": np.tile(-0.5 * np.log(PRECISION), (B, 1)).astype(np.float32),
}
ROUGH = {"mean": EXACT["mean"] + np.float32(0.4), "log_std": EXACT["log_std"] + 0.3}
MODEL = {"w": W, "prior": np.zeros(D, np.float32)}
METHODS = ("plain", "sticking_the_landing", "doubly_reparameterized", "piwae")
OPTIONS = ("gradient", "groups", "elbo_weight")
IN_THREE = [(name, 3) for name in METHODS]


def _decode(params, codes):
    mean = jnp.einsum("kbd,vd->kbv", codes[0], params["w"])
    return diagonal_normal(mean, jnp.full((1, 1, 1), STD))


def _make(params, key, k):
    trace = _trace(params, key, k)

    def encode(params, x):
        return trace.latents

    zero = jnp.asarray(0)
    return trace, Context(key, zero, {"x": trace.target}, params, encode, _decode)


@partial(jax.jit, static_argnums=2)
def _trace(params, key, k):
    mean, std = params["mean"][None], jnp.exp(params["log_std"])[None]
    z = mean + std * jax.random.normal(key, (k, B, D))
    prior = diagonal_normal(params["prior"][None, None], jnp.ones((1, 1, D)))
    latent = Latent(z, params["mean"], diagonal_normal(mean, std), prior)
    x = jnp.asarray(X)
    return Trace(x, x, None, _decode(params, (z,)), (latent,))


def _params(posterior):
    return jax.device_put(MODEL | posterior)


def _evaluate(objective, trace, context):
    """What the objective says, as one program."""

    @jax.jit
    def evaluate(trace, key, step, batch, params):
        given = context._replace(key=key, step=step, batch=batch, params=params)
        return objective.loss({}, trace, given)

    return jax.device_get(evaluate(trace, *context[:4]))


@partial(jax.jit, static_argnames=("k", "objective", *OPTIONS))
def _loss(params, key, k=6, objective=None, **options):
    objective = objective or IWAE(**options)
    loss, _ = objective.loss({}, *_make(params, key, k))
    return loss.sum()


@partial(jax.jit, static_argnames=OPTIONS)
def _gradient(params, key, **options):
    return jax.grad(_loss)(params, key, **options)


def _log_w(z, params):
    """In numpy, or in jax for its derivatives."""
    xp = jnp if isinstance(z, jax.Array) else np
    constant = 0.5 * np.log(2 * np.pi)
    std = xp.exp(params["log_std"])[None]

    def normal(x, mean, std):
        value = -0.5 * ((x - mean) / std) ** 2 - xp.log(std) - constant
        return value.sum(axis=-1)

    x_mean = xp.einsum("kbd,vd->kbv", z, params["w"])
    return (
        normal(X[None], x_mean, STD * xp.ones((1, 1, 3)))
        + normal(z, params["prior"][None, None], xp.ones((1, 1, D)))
        - normal(z, params["mean"][None], std)
    )


def test_log_weights_of_the_exact_posterior_are_log_p_of_x():
    trace, _ = _make(_params(EXACT), jax.random.key(0), 5)
    covariance = W @ W.T + STD**2 * np.eye(3)
    log_p = scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(X)
    found = jax.jit(log_weights)(trace)
    np.testing.assert_allclose(found, np.tile(log_p, (5, 1)), rtol=1e-5)


@pytest.mark.parametrize(
    ("gradient", "groups"), [*((name, 1) for name in METHODS[:3]), *IN_THREE]
)
def test_bounds_against_numpy(gradient, groups):
    params = _params(ROUGH)
    trace, context = _make(params, jax.random.key(0), 6)
    objective = IWAE(gradient=gradient, groups=groups)
    loss, metrics = _evaluate(objective, trace, context)
    w = _log_w(np.asarray(trace.latents[0].z), MODEL | ROUGH)
    bound = scipy.special.logsumexp(w, axis=0) - np.log(6)
    parts = scipy.special.logsumexp(w.reshape(groups, -1, B), axis=1)
    miwae = (parts - np.log(6 / groups)).mean(axis=0)
    np.testing.assert_allclose(metrics["iwae_nats"], bound, rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo_nats"], w.mean(axis=0), rtol=1e-5)
    assert ("miwae_nats" in metrics) == (groups > 1)
    np.testing.assert_allclose(
        loss, -(bound if gradient == "piwae" else miwae), rtol=1e-5
    )
    assert (bound > w.mean(axis=0)).all()


def test_ciwae_is_the_convex_combination():
    trace, context = _make(_params(ROUGH), jax.random.key(0), 6)
    context = context._replace(step=jnp.asarray(3))
    for gradient in METHODS[:3]:
        for weight in (0.3, lambda step: 0.1 * step):
            objective = IWAE(gradient=gradient, groups=2, elbo_weight=weight)
            loss, metrics = _evaluate(objective, trace, context)
            expected = 0.3 * metrics["elbo_nats"] + 0.7 * metrics["miwae_nats"]
            np.testing.assert_allclose(loss, -expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"groups": 6}, {"elbo_weight": 1.0}])
def test_groups_of_one_sample_are_the_elbo(options):
    params, key = _params(ROUGH), jax.random.key(0)
    for k in (1, 6):
        reference = ELBO(kl="monte_carlo")
        expected = jax.value_and_grad(_loss)(params, key, k, reference)
        chosen = {} if k == 1 else options
        actual = jax.value_and_grad(_loss)(params, key, k, **chosen)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            actual,
            expected,
        )


@jax.jit
def _by_hand(params, key, model, encoder, score):
    """The gradient from the one of every log-weight by z, and coefficients [k, b]."""
    trace, _ = _make(params, key, 6)
    z = trace.latents[0].z
    by_z = jax.grad(lambda z: _log_w(z, params).sum())(z)
    path = encoder[..., None] * by_z
    noise = z - params["mean"][None]

    def explicit(p):
        return (score * _log_w(z, p)).sum()

    def generative(p):
        return (model * _log_w(z, p)).sum()

    direct, plain = jax.grad(explicit)(params), jax.grad(generative)(params)
    return {
        "mean": -path.sum(axis=0) - direct["mean"],
        "log_std": -(path * noise).sum(axis=0) - direct["log_std"],
        "w": -plain["w"],
        "prior": -plain["prior"],
    }


@pytest.mark.parametrize(
    ("gradient", "groups", "share"),
    [
        *((name, 1, share) for name in METHODS[:3] for share in (0.0, 0.25)),
        *((name, 2, 0.25) for name in METHODS[:3]),
        ("piwae", 2, 0.0),
    ],
)
def test_gradients_by_hand(gradient, groups, share):
    params, key = _params(ROUGH), jax.random.key(3)
    trace, _ = _make(params, key, 6)
    w = _log_w(np.asarray(trace.latents[0].z), MODEL | ROUGH)
    normal = scipy.special.softmax(w.reshape(groups, -1, B), axis=1)
    plain = share / 6 + (1 - share) * normal.reshape(6, B) / groups
    square = share / 6 + (1 - share) * (normal**2).reshape(6, B) / groups
    of_all = scipy.special.softmax(w, axis=0)
    model, encoder, score = {
        "plain": (plain, plain, plain),
        "sticking_the_landing": (plain, plain, 0 * plain),
        "doubly_reparameterized": (plain, square, 0 * plain),
        "piwae": (of_all, plain, plain),
    }[gradient]
    options = {"gradient": gradient, "groups": groups, "elbo_weight": share}
    actual = _gradient(params, key, **options)
    expected = _by_hand(params, key, model, encoder, score)
    for name, value in actual.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=2e-5)


def _gradients(k, gradient, groups=1):
    keys = jax.random.split(jax.random.key(5), 20000)
    options = {"gradient": gradient, "groups": groups}

    def one(key):
        grads = jax.grad(_loss)(_params(ROUGH), key, k, **options)
        return jnp.concatenate([grads["mean"], grads["log_std"]])

    return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def _standard_errors(a, b):
    """How many of them the two means are apart, at most."""
    difference = (a - b).mean(axis=0)
    return np.abs(difference / ((a - b).std(axis=0) / np.sqrt(len(a)))).max()


def test_expected_gradients_agree():
    # 8 numbers at 4.5 standard errors: by chance in one of 18,000 runs.
    plain = _gradients(4, "plain")
    dreg = _gradients(4, "doubly_reparameterized")
    assert _standard_errors(plain, dreg) < 4.5
    assert dreg.std() < 0.8 * plain.std()
    in_groups = _gradients(4, "doubly_reparameterized", groups=2)
    assert _standard_errors(_gradients(4, "plain", groups=2), in_groups) < 4.5
    # Without the score alone only a single sample is unbiased.
    assert _standard_errors(plain, _gradients(4, "sticking_the_landing")) > 10
    single = _gradients(1, "sticking_the_landing")
    assert _standard_errors(_gradients(1, "plain"), single) < 4.5


@pytest.mark.parametrize("gradient", METHODS[1:3])
def test_no_noise_at_the_exact_posterior(gradient):
    grads = _gradient(_params(EXACT), jax.random.key(0), gradient=gradient)
    plain = _gradient(_params(EXACT), jax.random.key(0))
    for name in ("mean", "log_std"):
        np.testing.assert_allclose(grads[name], 0, atol=1e-5)
        assert np.abs(plain[name]).max() > 0.05
    np.testing.assert_allclose(grads["w"], plain["w"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gradient", METHODS)
@pytest.mark.slow
def test_recipe(gradient):
    recipe = iwae_recipe(
        (5,),
        2,
        num_samples=4,
        gradient=gradient,
        groups=2,
        network=networks.FullyConnected((6,)),
        likelihood="gaussian",
    )
    key = jax.random.key(0)
    x = jax.random.uniform(key, (8, 5))
    variables = recipe.module.init(key, {"x": x, "inputs": x}, key)
    params = {"model": variables["params"], "objective": {}}

    def loss(params, recipe):
        value, (metrics, _, _) = batch_loss(
            recipe, params, {}, {"x": x}, key, jnp.asarray(0)
        )
        return value, metrics

    (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params, recipe)
    assert recipe.num_samples == 4
    assert metrics["elbo_nats"] < metrics["miwae_nats"] < metrics["iwae_nats"]
    assert all(np.abs(g).sum() > 0 for g in jax.tree.leaves(grads))
    # The decoder gets the plain gradient, whatever the encoder gets.
    plain = IWAE(groups=1 if gradient == "piwae" else 2)
    reference = jax.grad(loss, has_aux=True)(params, recipe.replace(objective=plain))
    ours, theirs = (g["model"]["decoder"] for g in (grads, reference[0]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        ours,
        theirs,
    )


def test_region():
    trace, context = _make(_params(ROUGH), jax.random.key(0), 4)
    trace = trace._replace(mask=jnp.asarray([[True, False, True]] * B))
    density = jax.jit(lambda trace: trace.likelihood.base_dist.log_prob(trace.target))
    values = np.asarray(density(trace))
    _, all_values = _evaluate(IWAE(), trace, context)
    _, hole = _evaluate(IWAE(region="hole"), trace, context)
    np.testing.assert_allclose(
        all_values["elbo_nats"] - hole["elbo_nats"],
        values[..., 1].mean(axis=0),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"gradient": "stl"}, "gradient"),
        ({"groups": 0}, "groups"),
        ({"elbo_weight": 1.5}, "elbo_weight"),
        ({"elbo_weight": -0.1}, "elbo_weight"),
        ({"gradient": "piwae"}, "groups"),
        ({"gradient": "piwae", "groups": 2, "elbo_weight": 0.5}, "elbo_weight"),
    ],
)
def test_bad_arguments(monkeypatch, options, named):
    # Without the run-time type check, which is ours and not the user's.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=f"^{named} must be"):
        IWAE(**options)
    with pytest.raises(ValueError, match=f"^{named} must be"):
        iwae_recipe((5,), 2, num_samples=4, **options)


def test_bad_traces():
    trace, context = _make(_params(ROUGH), jax.random.key(0), 4)
    with pytest.raises(ValueError, match=r"^num_samples must be a multiple of groups"):
        IWAE(groups=3).loss({}, trace, context)
    with pytest.raises(ValueError, match=r"^num_samples must be a multiple of groups"):
        iwae_recipe((5,), 2, num_samples=4, groups=3)
    (latent,) = trace.latents
    flow = latent._replace(log_posterior=latent.posterior.log_prob(latent.z))
    of_flow = trace._replace(latents=(flow,))
    two = trace._replace(latents=(latent, latent))
    expected, _ = _evaluate(IWAE(), trace, context)
    np.testing.assert_allclose(_evaluate(IWAE(), of_flow, context)[0], expected)
    for gradient in METHODS[1:]:
        with pytest.raises(ValueError, match=r"is for models with one latent, not 2"):
            IWAE(gradient=gradient, groups=2).loss({}, two, context)
    for gradient in METHODS[1:3]:
        with pytest.raises(ValueError, match=r"needs the density of any z"):
            IWAE(gradient=gradient).loss({}, of_flow, context)
    _evaluate(IWAE(gradient="piwae", groups=2), of_flow, context)
    nothing = trace._replace(latents=(latent._replace(posterior=None),))
    for gradient in METHODS[:3]:
        with pytest.raises(ValueError, match=r"^this objective needs a posterior"):
            IWAE(gradient=gradient).loss({}, nothing, context)


def test_cyclical_schedule():
    schedule = Cyclical(8, peak=2.0, ratio=0.5)
    expected = [0, 0.5, 1, 1.5, 2, 2, 2, 2] * 2
    np.testing.assert_allclose([schedule(i) for i in range(16)], expected)
    np.testing.assert_allclose(schedule(jnp.arange(16)), expected)
    np.testing.assert_allclose(Cyclical(4, ratio=1.0)(jnp.asarray(3)), 0.75)
    for arguments, named in [
        ({"steps": 0}, "steps"),
        ({"steps": 4, "peak": 0.0}, "peak"),
        ({"steps": 4, "ratio": 0.0}, "ratio"),
        ({"steps": 4, "ratio": 1.5}, "ratio"),
    ]:
        with pytest.raises(ValueError, match=f"^{named} must be"):
            Cyclical(**arguments)
