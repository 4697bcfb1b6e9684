"""Each likelihood against sums, integrals and independent float64 formulas."""

import functools
import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from jax import lax

from jaxae import likelihoods
from jaxae.distributions import elementwise as distributions
from jaxae.likelihoods import (
    Bernoulli,
    BetaBinomial,
    BinaryCrossEntropy,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogisticMixture,
    Gaussian,
    Laplace,
    Target,
    WholeNumbers,
)

DISCRETE = [
    *("bernoulli", "categorical", "discretized_logistic_mixture", "beta_binomial"),
]
GRID = np.arange(256) / 255.0


# Inputs come from numpy, and every distribution is made and used in one compiled
# function: operations one by one would take most of a minute to compile.


def _outputs(likelihood, *, k=2, b=3, event=(2, 3), scale=1.0, seed=0):
    *space, channels = event
    shape = (k, b, *space, channels * likelihood.params_per_value)
    return _jnp(scale * np.random.default_rng(seed).standard_normal(shape))


def _values(likelihood, b=3, event=(2, 3)):
    x = np.random.default_rng(1).integers(0, 256, (b, *event)) / 255.0
    return _jnp(np.round(x) if isinstance(likelihood, Bernoulli) else x)


def _jnp(x):
    return jax.device_put(np.float32(x))


def _apply(likelihood, outputs):
    """The distribution with freshly initialised variables, if there are any."""
    variables = likelihood.init(jax.random.key(0), outputs)
    return likelihood.apply(variables, outputs)


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(likelihood, outputs, x):
    """The log-probabilities [k, b] and per value [k, b, ...], and the mean."""
    dist = _apply(likelihood, outputs)
    return dist.log_prob(x), dist.base_dist.log_prob(x), dist.mean


@functools.partial(jax.jit, static_argnums=(0, 2))
def _sample(likelihood, outputs, count):
    dist = _apply(likelihood, outputs)
    return dist.sample(jax.random.key(3), (count,)), dist.mean


def _density(likelihood, *outputs):
    """p(x) in float64 for a vector of x, of a likelihood with one value."""

    def density(x):
        parameters = _jnp(outputs).reshape(1, 1, -1)
        log_p = _evaluate(likelihood, parameters, _jnp(x).reshape(-1, 1))[0]
        return np.exp(np.asarray(log_p[0], np.float64))

    return density


def _legendre(f, low, high):
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x = 0.5 * (high - low) * nodes + 0.5 * (high + low)
    return 0.5 * (high - low) * np.sum(weights * f(x))


# What every likelihood does


@pytest.mark.parametrize("name", likelihoods.NAMES)
@pytest.mark.parametrize("event", [(5,), (4, 4, 1), (4, 4, 3)])
def test_shapes_and_dtypes(name, event):
    likelihood = likelihoods.by_name(name)
    for k in (1, 3):

        def use(k=k):
            outputs = _outputs(likelihood, k=k, b=2, event=event)
            dist = _apply(likelihood, outputs.astype(jnp.bfloat16))
            assert (dist.batch_shape, dist.event_shape) == ((k, 2), event)
            x, key = _values(likelihood, 2, event), jax.random.key(0)
            log_p = dist.log_prob(x), dist.base_dist.log_prob(x)
            return *log_p, dist.sample(key), dist.sample(key, (7,)), dist.mean

        full = (k, 2, *event)
        found = jax.eval_shape(use)
        assert [a.shape for a in found] == [(k, 2), full, full, (7, *full), full]
        assert {a.dtype for a in found} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", likelihoods.NAMES)
def test_parameters_of_a_channel_are_side_by_side(name):
    likelihood = likelihoods.by_name(name)
    p, x = likelihood.params_per_value, _values(likelihood)
    outputs = np.array(_outputs(likelihood))
    total, before, _ = _evaluate(likelihood, _jnp(outputs), x)
    np.testing.assert_allclose(total, np.sum(before, (-2, -1)), rtol=1e-5)
    outputs[..., p : 2 * p] = _outputs(likelihood, event=(2, 1), seed=9)
    after = _evaluate(likelihood, _jnp(outputs), x)[1]
    changed = np.any(np.asarray(before) != np.asarray(after), axis=(0, 1, 2))
    assert changed.tolist() == [False, True, False]


@pytest.mark.parametrize("name", likelihoods.NAMES)
def test_samples_are_in_the_support_and_average_to_the_mean(name):
    likelihood, count = likelihoods.by_name(name), 4_000
    outputs = _outputs(likelihood, k=1, b=1, event=(4,), scale=2.0)
    samples, mean = map(np.asarray, _sample(likelihood, outputs, count))
    assert np.all(likelihood.support(samples))
    samples = samples.astype(np.float64)
    # 5 standard errors: chance fails one of 4 values once in 400,000 seeds.
    error = np.abs(samples.mean(0) - mean)
    assert np.all(error < 5 * samples.std(0) / np.sqrt(count))


@pytest.mark.parametrize(
    "name", [*DISCRETE, "continuous_bernoulli", "gaussian_optimal", "laplace_per_value"]
)
def test_distributions_pass_through_jit_vmap_and_scan(name):
    likelihood = likelihoods.by_name(name)
    batches = [_outputs(likelihood, seed=seed) for seed in range(3)]
    x = _values(likelihood)

    def body(carry, outputs):
        dist = _apply(likelihood, outputs)
        return dist, (carry.log_prob(x), dist)

    @jax.jit
    def distributions(stack):
        first = _apply(likelihood, stack[0])
        last, (previous, scanned) = lax.scan(body, first, stack)
        mapped = jax.vmap(lambda outputs: _apply(likelihood, outputs))(stack)
        return first, last, previous, scanned, mapped

    @jax.jit
    def use(*distributions):
        return [(dist.log_prob(x), dist.mean) for dist in distributions]

    each = [_evaluate(likelihood, outputs, x) for outputs in batches]
    log_p, _, mean = (np.stack(parts) for parts in zip(*each, strict=True))
    first, last, previous, scanned, mapped = distributions(jnp.stack(batches))
    close = {"rtol": 1e-5, "atol": 1e-6}  # other fusions round otherwise
    np.testing.assert_allclose(previous, log_p[[0, 0, 1]], **close)
    expected = [(log_p[0], mean[0]), (log_p[2], mean[2]), (log_p, mean), (log_p, mean)]
    found = use(first, last, scanned, mapped)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, **close), found, expected
    )


@pytest.mark.parametrize("name", likelihoods.NAMES)
def test_support_rejects_what_the_likelihood_cannot_explain(name):
    likelihood = likelihoods.by_name(name)
    grid = GRID.astype(np.float32)
    binary = isinstance(likelihood, Bernoulli)
    assert np.all(likelihood.support(grid[[0, 255]] if binary else grid))
    real = likelihood.values.words == "finite numbers"
    bad = [np.nan, np.inf] if real else [np.nan, -0.1, 1.5]
    bad += [0.5 / 255] if name in DISCRETE else []
    assert not np.any(likelihood.support(np.float32(bad)))


# Normalisation


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("scale", [0.5, 5.0])
def test_discrete_likelihoods_sum_to_one(name, scale):
    likelihood = likelihoods.by_name(name)
    levels = np.array([0.0, 1.0]) if name == "bernoulli" else GRID
    outputs = _outputs(likelihood, k=2, b=1, event=(4,), scale=scale)
    x = _jnp(np.broadcast_to(levels[:, None], (len(levels), 4)))
    log_p = _evaluate(likelihood, outputs, x)[1]
    total = np.exp(np.asarray(log_p, np.float64)).sum(1)
    # With scales down to exp(-7) the bounds between levels, rounded to 1e-7, differ by
    # up to 1e-4 scales between the two levels that meet there.
    # Terms of up to 10 cancel in a beta-binomial.
    small = 2e-6 if name == "beta_binomial" else 1e-6
    np.testing.assert_allclose(total, 1.0, atol=small if scale < 1 else 1e-4)


@pytest.mark.parametrize("logit", [0.0, 1e-7, -1e-3, 0.99, 1.01, -1.01, 10.0, -90.0])
def test_continuous_bernoulli_integrates_to_one(logit):
    total = _legendre(_density(ContinuousBernoulli(), logit), 0.0, 1.0)
    # float32 rounds the exponent, at most |logit|, by up to 6e-8 of it in a few places.
    np.testing.assert_allclose(total, 1.0, atol=2e-7 * max(1.0, abs(logit)))


@pytest.mark.parametrize(
    "likelihood",
    [
        *map(Gaussian, (0.1, "shared", "per_value", "optimal")),
        *map(Laplace, (0.1, "shared", "per_value")),
    ],
    ids=lambda likelihood: repr(likelihood).replace("\n", ""),
)
def test_real_likelihoods_integrate_to_one(likelihood):
    density = _density(likelihood, *(0.3, -1.0)[: likelihood.params_per_value])
    # From the kink of the Laplace outwards; beyond 30 there is less than 1e-12.
    edges = 0.3 + np.array([-30.0, -3.0, -0.5, 0.0, 0.5, 3.0, 30.0])
    total = sum(_legendre(density, *ends) for ends in itertools.pairwise(edges))
    np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_binary_cross_entropy_is_the_only_one_without_a_normalizer():
    flags = {name: likelihoods.by_name(name).normalized for name in likelihoods.NAMES}
    unnormalized = [name for name, normalized in flags.items() if not normalized]
    assert unnormalized == ["binary_cross_entropy"]
    total = _legendre(_density(BinaryCrossEntropy(), 0.0), 0.0, 1.0)
    np.testing.assert_allclose(total, 0.5, rtol=1e-6)


# Bernoulli and the cross-entropy


@pytest.mark.parametrize("likelihood", [Bernoulli(), BinaryCrossEntropy()])
def test_bernoulli_agrees_with_optax(likelihood):
    outputs, x = _outputs(likelihood, scale=8.0), _values(likelihood)
    _, found, mean = _evaluate(likelihood, outputs, x)
    labels = jnp.broadcast_to(x, outputs.shape)
    expected = -optax.sigmoid_binary_cross_entropy(outputs, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mean, scipy.special.expit(outputs), rtol=1e-6)


def test_bernoulli_is_exact_to_float32_however_sure_it_is():
    logits = jnp.linspace(-80.0, 80.0, 10_001)
    log_p = distributions.Bernoulli(logits).log_prob(jnp.ones_like(logits))
    expected = -np.logaddexp(0.0, -np.float64(logits))
    np.testing.assert_allclose(log_p, expected, rtol=5e-7, atol=1e-5)
    # Where it is wrong and sure of it there is nothing to cancel.
    log_p = distributions.Bernoulli(logits).log_prob(jnp.zeros_like(logits))
    expected = -np.logaddexp(0.0, np.float64(logits))
    np.testing.assert_allclose(log_p, expected, rtol=2e-6, atol=1e-38)


def test_bernoulli_gradient_is_closed_and_can_be_differentiated_again():
    x = _jnp([[0.0, 1.0, 1.0, 0.0, 1.0, 0.0]])
    logits = _jnp([[[0.0, 0.0, 3.0, -200.0, -200.0, 200.0]]])
    tangent = _jnp([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]])

    def loss(logits):
        return -_apply(Bernoulli(), logits).log_prob(x).sum()

    @jax.jit
    def derivatives(logits):
        gradient, curvature = jax.jvp(jax.grad(loss), (logits,), (tangent,))
        return gradient, curvature, jax.jvp(loss, (logits,), (tangent,))[1]

    gradient, curvature, slope = derivatives(logits)
    probs = jax.nn.sigmoid(logits)
    np.testing.assert_array_equal(gradient, probs - x[None])
    np.testing.assert_allclose(curvature, probs * (1 - probs) * tangent, rtol=1e-6)
    np.testing.assert_allclose(slope, np.sum(gradient * tangent), rtol=1e-6)


def test_binary_cross_entropy_is_best_at_the_pixel_entropy():
    x = np.array([[0.1, 0.5, 0.8]])
    outputs = _jnp(scipy.special.logit(x))[None]
    _, best, mean = _evaluate(BinaryCrossEntropy(), outputs, _jnp(x))
    np.testing.assert_allclose(-best[0], scipy.stats.bernoulli(x).entropy(), rtol=1e-6)
    np.testing.assert_allclose(mean[0], x, rtol=1e-6)


# Continuous Bernoulli

LOGITS = [0.0, 1e-8, -1e-4, 0.5, 0.9999, 1.0001, -3.0, 12.0, -60.0, 100.0]


def _tilted_moment(logit, power):
    """∫₀¹ xᵖ exp(l·x - max(l, 0)) dx in float64, for |l| up to 100."""
    return _legendre(lambda x: x**power * np.exp(logit * x - max(logit, 0.0)), 0, 1)


def test_continuous_bernoulli_agrees_with_quadrature():
    values = [0.0, 0.25, 1.0]

    def log_prob(logit, x):
        dist = _apply(ContinuousBernoulli(), logit.reshape(1, 1, 1))
        return dist.log_prob(x.reshape(1, 1))[0, 0]

    derivatives = [log_prob, jax.grad(log_prob), jax.grad(jax.grad(log_prob))]
    pairs = [_jnp(axis) for axis in np.meshgrid(LOGITS, values, indexing="ij")]
    found = jax.jit(lambda *at: [jnp.vectorize(f)(*at) for f in derivatives])(*pairs)
    outputs = _jnp(LOGITS).reshape(1, 1, -1)
    means = _evaluate(ContinuousBernoulli(), outputs, jnp.zeros((1, len(LOGITS))))[2]
    for i, logit in enumerate(np.float64(np.float32(LOGITS))):
        mass, first, second = (_tilted_moment(logit, power) for power in (0, 1, 2))
        mean, variance = first / mass, second / mass - (first / mass) ** 2
        value, slope, curvature = (np.asarray(part[i]) for part in found)
        expected = logit * np.array(values) - max(logit, 0.0) - np.log(mass)
        np.testing.assert_allclose(value, expected, rtol=3e-7, atol=3e-7)
        np.testing.assert_allclose(slope, values - mean, atol=3e-7)
        np.testing.assert_allclose(curvature, [-variance] * 3, atol=1e-6)
        np.testing.assert_allclose(means[0, 0, i], mean, rtol=3e-7, atol=3e-7)


def test_continuous_bernoulli_at_huge_logits():
    outputs = _jnp([1e4, 1e4, -1e4, -1e4, 1e30]).reshape(1, 1, 5)
    x = _jnp([[1.0, 0.0, 1.0, 0.0, 1.0]])
    _, found, mean = _evaluate(ContinuousBernoulli(), outputs, x)
    peak = np.log(1e4)  # the density of an exponential distribution at 0
    expected = [peak, peak - 1e4, peak - 1e4, peak, np.log(1e30)]
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(mean[0, 0], [1 - 1e-4] * 2 + [1e-4] * 2 + [1], rtol=1e-6)


@pytest.mark.parametrize("logit", [-1e4, -30.0, -0.5, 0.0, 1e-4, 5.0, 80.0])
def test_continuous_bernoulli_samples_by_its_cdf(logit):
    outputs = jnp.full((1, 1, 1), logit, jnp.float32)
    samples, _ = _sample(ContinuousBernoulli(), outputs, 20_000)
    x = np.asarray(samples, np.float64).ravel()
    # The cdf in float64 from the end where the mass is.
    size, tail = max(abs(logit), 1e-12), 1 - x if logit > 0 else x
    cdf = np.expm1(-size * tail) / np.expm1(-size)
    assert scipy.stats.kstest(cdf, "uniform").pvalue > 1e-4  # the key is fixed


# Gaussian and Laplace


@pytest.mark.parametrize(
    ("make", "reference"),
    [(Gaussian, scipy.stats.norm), (Laplace, scipy.stats.laplace)],
)
def test_real_likelihoods_agree_with_scipy(make, reference):
    x, outputs = _values(None), _outputs(make("per_value"), scale=2.0)
    mean, log_scale = np.asarray(outputs)[..., ::2], np.asarray(outputs)[..., 1::2]

    def floored(log_scale):
        return np.exp(-6 + np.logaddexp(0, np.float64(log_scale) + 6))

    for choice, inputs, scale in [
        ("per_value", outputs, floored(log_scale)),
        ("shared", _jnp(mean), 1.0),
        (0.3, _jnp(mean), 0.3),
    ]:
        _, found, found_mean = _evaluate(make(choice), inputs, x)
        expected = reference.logpdf(np.float64(x), np.float64(mean), scale)
        # Residuals of up to 1e3 scales, squared: half an ulp of each grows to 1e-5.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found_mean, mean)


@pytest.mark.parametrize("make", [Gaussian, Laplace])
def test_shared_scale_is_one_at_first(make):
    scale = jax.jit(lambda outputs: _apply(make("shared"), outputs).base_dist.scale)
    assert scale(jnp.zeros((1, 2, 3))) == 1.0


@pytest.mark.parametrize("make", [Gaussian, Laplace])
def test_shared_scale_is_learned(make):
    likelihood, x = make("shared"), _values(None)
    outputs = _outputs(likelihood)
    variables = likelihood.init(jax.random.key(0), outputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 1

    @jax.jit
    @jax.value_and_grad
    def loss(variables):
        return -likelihood.apply(variables, outputs).log_prob(x).mean()

    before, slope = loss(variables)
    assert jax.tree.leaves(slope)[0] != 0
    step = jax.tree.map(lambda leaf, g: leaf - 0.01 * jnp.sign(g), variables, slope)
    assert loss(step)[0] < before


@pytest.mark.parametrize("make", [Gaussian, Laplace])
def test_decoded_scales_have_a_floor_and_finite_gradients(make):
    @jax.jit
    @jax.value_and_grad
    def log_prob(outputs):
        return _apply(make("per_value"), outputs).log_prob(_jnp([[0.5]]))[0, 0]

    for log_scale in (-1e4, -6.0, 0.0, 50.0):
        value, slope = log_prob(_jnp([[[0.5, log_scale]]]))
        assert value < 6.0
        assert np.all(np.isfinite(slope))


def test_optimal_variance_is_the_mean_squared_error():
    likelihood, x = Gaussian("optimal"), _values(None)
    target = Target(x)
    outputs = _outputs(likelihood)
    variables = likelihood.init(jax.random.key(0), outputs, target)
    assert variables["statistics"]["variance"] == 1.0

    def train(outputs):
        dist, _ = likelihood.apply(variables, outputs, target, mutable=["statistics"])
        return -dist.log_prob(x).sum(), jnp.square(dist.base_dist.scale)

    def error(outputs):
        return jnp.mean(jnp.square(outputs - x[None]))

    # The profiled likelihood: N/2 · (log(2π · MSE) + 1) over all N values.
    def profiled(outputs):
        return outputs.size / 2 * (jnp.log(2 * jnp.pi * error(outputs)) + 1)

    (loss, variance), found = jax.jit(jax.value_and_grad(train, has_aux=True))(outputs)
    value, expected = jax.jit(jax.value_and_grad(profiled))(outputs)
    np.testing.assert_allclose(np.unique(variance), [error(outputs)], rtol=1e-6)
    np.testing.assert_allclose(loss, value, rtol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_optimal_variance_is_a_running_average_at_evaluation():
    likelihood, x = Gaussian("optimal"), _values(None)
    target = Target(x)
    variables = likelihood.init(jax.random.key(0), _outputs(likelihood))

    def step(variables, outputs):
        return likelihood.apply(variables, outputs, target, mutable=["statistics"])[
            1
        ], None

    batches = jnp.stack([_outputs(likelihood, seed=seed) for seed in range(4)])
    trained, _ = lax.scan(step, variables, batches)
    errors = np.square(np.asarray(batches) - np.asarray(x)).reshape(4, -1).mean(axis=1)
    # That of the start, 1, has no part in it.
    expected = np.average(errors, weights=0.9 ** np.arange(4)[::-1])
    outputs = batches[0]
    dist = likelihood.apply(trained, outputs)
    reference = scipy.stats.norm(outputs, np.sqrt(expected)).logpdf(x).sum((-2, -1))
    np.testing.assert_allclose(dist.log_prob(x), reference, rtol=1e-5)


def test_optimal_variance_is_by_weight():
    likelihood, x = Gaussian("optimal"), _values(None)
    outputs, counts = _outputs(likelihood), np.asarray([2, 0, 1])
    rows = np.repeat(np.arange(3), counts)
    variables = likelihood.init(jax.random.key(0), outputs)

    @jax.jit
    def train(outputs, x, weight):
        known = Target(x, weight)
        dist, new = likelihood.apply(variables, outputs, known, mutable=["statistics"])
        return dist.log_prob(x), new["statistics"]

    weight = _jnp(counts)
    (found, new), (expected, repeated) = (
        train(outputs, x, weight),
        train(outputs[:, rows], x[rows], None),
    )
    np.testing.assert_allclose(found[:, rows], expected, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    jax.tree.map(close, new, repeated)
    other, same = train(outputs.at[:, 1].set(1e3), x, weight)
    np.testing.assert_array_equal(other[:, rows], found[:, rows])
    assert same == new
    nothing = train(outputs, x, jnp.zeros(3))[1]
    assert nothing == variables["statistics"]


def test_optimal_variance_is_that_of_the_values_that_count():
    likelihood, x = Gaussian("optimal"), _values(None)
    outputs, counts = _outputs(likelihood), np.asarray([2.0, 1.0, 0.0], np.float32)
    known = np.random.default_rng(0).random(x.shape) < 0.6
    variables = likelihood.init(jax.random.key(0), outputs)

    @jax.jit
    def train(x):
        target = Target(x, jnp.asarray(counts), jnp.asarray(known))
        dist, new = likelihood.apply(variables, outputs, target, mutable=["statistics"])
        return jnp.square(dist.base_dist.scale), new["statistics"]["variance"]

    weights = np.broadcast_to(known * counts[:, None, None], outputs.shape)
    square = np.square(np.asarray(outputs) - np.asarray(x))
    expected = np.average(square, weights=weights)
    for value in (0.0, 1e6):
        found = train(jnp.where(known, x, value))
        np.testing.assert_allclose(np.unique(found[0]), [expected], rtol=1e-5)
        np.testing.assert_allclose(found[1], expected, rtol=1e-5)


def test_optimal_variance_survives_a_perfect_reconstruction():
    likelihood, x = Gaussian("optimal"), _values(None)
    target = Target(x)
    variables = likelihood.init(jax.random.key(0), x[None])

    @jax.jit
    @jax.value_and_grad
    def loss(outputs):
        dist, _ = likelihood.apply(variables, outputs, target, mutable=["statistics"])
        return -dist.log_prob(x).sum()

    value, slope = loss(x[None])
    np.testing.assert_allclose(value, x.size * (np.log(2 * np.pi) / 2 - 6), rtol=1e-5)
    np.testing.assert_array_equal(slope, jnp.zeros_like(slope))


# 256 levels


def _mixture_reference(outputs, components):
    """Salimans et al. 2017, equation 2, in float64: [..., level] of one channel."""
    outputs = np.asarray(outputs, np.float64)[..., None, :]
    logits, means, log_scales = np.split(outputs, 3, axis=-1)
    y = (2 * GRID - 1)[:, None]
    upper = scipy.special.expit((y + 1 / 255 - means) / np.exp(log_scales))
    lower = scipy.special.expit((y - 1 / 255 - means) / np.exp(log_scales))
    upper[..., -1, :], lower[..., 0, :] = 1.0, 0.0
    return np.sum(scipy.special.softmax(logits, -1) * (upper - lower), -1)


def test_mixture_agrees_with_its_equation():
    likelihood = DiscretizedLogisticMixture(components=3)
    outputs = np.array(_outputs(likelihood, k=5, b=1, event=(1,)))
    outputs[..., 6:] -= 2.0  # log scales
    expected = _mixture_reference(outputs[:, 0], 3)
    _, found, mean = _evaluate(likelihood, _jnp(outputs), _jnp(GRID)[:, None])
    np.testing.assert_allclose(found[..., 0], np.log(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean[:, 0, 0], expected @ GRID, rtol=1e-5)


def test_mixture_samples_have_its_probabilities():
    outputs = _jnp([[[0.0, 1.0, -0.99, 0.9, -3.0, -2.0]]])
    samples, _ = _sample(DiscretizedLogisticMixture(components=2), outputs, 20_000)
    levels = np.round(255 * np.asarray(samples).ravel()).astype(int)
    expected = 20_000 * _mixture_reference(outputs[0, 0], 2)
    # Levels in groups of 16, as a chi-squared test needs some counts in each.
    grouped = np.bincount(levels, minlength=256).reshape(16, 16).sum(1)
    result = scipy.stats.chisquare(grouped, expected.reshape(16, 16).sum(1))
    assert result.pvalue > 1e-4  # the key is fixed


@pytest.mark.parametrize("name", [*DISCRETE, "continuous_bernoulli"])
def test_gradients_are_finite_at_extreme_outputs(name):
    likelihood = likelihoods.by_name(name)
    signs = np.sign(_outputs(likelihood, k=1, b=64, event=(3,)))

    @jax.jit
    @jax.value_and_grad
    def log_prob(outputs, x):
        return _apply(likelihood, outputs).log_prob(x).sum()

    middle = 1.0 if name == "bernoulli" else 128 / 255
    x = _jnp([[0.0, middle, 1.0]] * 64)
    for size in (0.0, 20.0, 1e4):
        value, slope = log_prob(_jnp(size * signs), x)
        assert np.isfinite(value)
        assert np.all(np.isfinite(slope))


def test_categorical_agrees_with_scipy():
    outputs = _outputs(Categorical(), k=2, b=1, event=(1,), scale=3.0)
    log_p = scipy.special.log_softmax(np.float64(outputs), -1)[:, 0]
    _, found, mean = _evaluate(Categorical(), outputs, _jnp(GRID)[:, None])
    np.testing.assert_allclose(found[..., 0], log_p, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean[:, 0, 0], np.exp(log_p) @ GRID, rtol=1e-5)


@pytest.mark.parametrize("levels", [2, 16])
def test_categorical_of_other_levels(levels):
    likelihood, grid = Categorical(levels), np.arange(levels) / (levels - 1)
    outputs = _outputs(likelihood, k=2, b=1, event=(1,), scale=3.0)
    log_p = scipy.special.log_softmax(np.float64(outputs), -1)[:, 0]
    _, found, mean = _evaluate(likelihood, outputs, _jnp(grid)[:, None])
    np.testing.assert_allclose(found[..., 0], log_p, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean[:, 0, 0], np.exp(log_p) @ grid, rtol=1e-5)
    samples, _ = _sample(likelihood, outputs, 50)
    assert np.all(likelihood.support(np.asarray(samples)))
    assert np.all(likelihood.support(np.float32(grid)))
    assert not np.any(likelihood.support(np.float32([0.5 / (levels - 1), -grid[1]])))
    assert f"k/{levels - 1} " in likelihood.values.words


def test_levels_of_sixteen_bits_are_told_from_what_lies_between():
    likelihood, grid = Categorical(2**16), np.arange(2**16) / (2**16 - 1)
    assert np.all(likelihood.support(grid.astype(np.float32)))
    assert not np.any(likelihood.support((grid[:-1] + grid[1:]) / 2))


def test_whole_numbers_agree_with_scipy():
    likelihood, numbers = WholeNumbers(5), np.arange(5.0)
    outputs = _outputs(likelihood, k=2, b=1, event=(1,), scale=3.0)
    log_p = scipy.special.log_softmax(np.float64(outputs), -1)[:, 0]
    _, found, mean = _evaluate(likelihood, outputs, _jnp(numbers)[:, None])
    np.testing.assert_allclose(found[..., 0], log_p, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean[:, 0, 0], np.exp(log_p) @ numbers, rtol=1e-5)
    samples, mean = map(np.asarray, _sample(likelihood, outputs, 4_000))
    np.testing.assert_array_equal(np.unique(samples), numbers)
    error = np.abs(samples.mean(0) - mean)  # 5 standard errors
    assert np.all(error < 5 * samples.std(0) / np.sqrt(4_000))
    assert np.all(likelihood.support(np.float32(numbers)))
    assert not np.any(likelihood.support(np.float32([-1, 0.5, 5, np.nan])))


@pytest.mark.parametrize("make", [Categorical, WholeNumbers])
def test_a_level_is_compared_and_not_gathered(make):
    outputs = _outputs(make(7))
    x = jnp.zeros((3, 2, 3))
    gradient = jax.grad(lambda outputs: _apply(make(7), outputs).log_prob(x).sum())
    program = str(jax.make_jaxpr(gradient)(outputs))
    assert "gather" not in program and "scatter" not in program


# Errors


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf"), "free", True])
def test_bad_scales_are_refused(std, monkeypatch):
    # Users have no types checked.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(
        ValueError, match=r"std must be .*optimal, per_value, shared, got"
    ):
        Gaussian(std=std)
    with pytest.raises(ValueError, match=r"scale must be .*per_value, shared, got"):
        Laplace(scale=std)


@pytest.mark.parametrize(
    ("make", "name", "least"),
    [
        (DiscretizedLogisticMixture, "components", 1),
        (Categorical, "levels", 2),
        (WholeNumbers, "num_values", 1),
    ],
)
def test_counts_are_whole_numbers(make, name, least, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for bad in (least - 1, -2, True, float(least), "3"):
        expected = f"{name} must be a whole number of at least {least}, got {bad!r}"
        with pytest.raises(ValueError, match=expected):
            make(bad)
    assert make(np.int64(3)).params_per_value == make(3).params_per_value


def test_outputs_of_the_wrong_size_are_refused():
    with pytest.raises(
        ValueError, match="last axis of outputs must be a multiple of 2"
    ):
        _apply(Gaussian("per_value"), jnp.zeros((1, 2, 5)))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"bernoulli.*laplace_shared.*got 'poisson'"):
        likelihoods.by_name("poisson")


def test_beta_binomial_is_that_of_scipy():
    """At all levels, from flat over two-ended to as narrow as a binomial."""
    logs = np.float32(np.stack(np.meshgrid(*[np.linspace(-10, 10, 11)] * 2), axis=-1))
    outputs = _jnp(logs.reshape(1, 1, -1, 2))  # one channel at each of 121 places
    x = _jnp(np.broadcast_to(GRID[:, None, None], (256, 121, 1)))
    alpha, beta = np.exp(logs.reshape(-1, 2).astype(float)).T
    expected = scipy.stats.betabinom.logpmf(np.arange(256)[:, None], 255, alpha, beta)
    each = jnp.broadcast_to(outputs, (1, 256, 121, 2))
    _, found, mean = _evaluate(BetaBinomial(), each, x)
    # 24 bits, of numbers of up to 1,275 and their differences.
    np.testing.assert_allclose(found[0, ..., 0], expected, rtol=2e-6, atol=5e-4)
    np.testing.assert_allclose(mean[0, 0, :, 0], alpha / (alpha + beta), rtol=1e-5)


def test_beta_binomial_clips_its_shapes():
    x = _jnp([[0.0], [1.0]])
    far, limit = (
        _evaluate(BetaBinomial(), _jnp([[[-a, a], [-a, a]]]), x)[0] for a in (1e4, 10.0)
    )
    assert np.isfinite(far).all() and np.array_equal(far, limit)


def test_beta_binomial_has_finite_gradients():
    """The exact ones of log C + log B(k + α, n - k + β) - log B(α, β), by digammas."""
    logs, k = (
        np.float32([[-10.0, 3.0], [0.0, 0.0], [10.0, -2.0]]),
        np.array([0, 7, 255]),
    )

    @jax.jit
    def gradient(outputs, x):
        def total(outputs):
            return BetaBinomial().apply({}, outputs).log_prob(x).sum()

        return jax.grad(total)(outputs)

    found = gradient(_jnp(logs[None]), _jnp(k[:, None] / 255))[0]
    a, b = np.exp(logs.astype(float)).T
    psi = scipy.special.digamma
    trials = psi(a + b + 255) - psi(a + b)
    by_a = a * (psi(a + k) - psi(a) - trials)
    by_b = b * (psi(b + 255 - k) - psi(b) - trials)
    # At the limits the clip may stop the gradient.
    inside = np.abs(logs) < 10
    expected = np.stack([by_a, by_b], axis=-1)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-3, atol=1e-3)
    assert np.isfinite(found).all()
