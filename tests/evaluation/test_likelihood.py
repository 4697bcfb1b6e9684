"""Bounds on log p(x) of a model whose p(x) is known: z ~ N(0, I), x | z ~ N(z, I)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxae import init, likelihoods, networks, objectives, recipes
from jaxae.evaluation import examples
from jaxae.evaluation.likelihood import _nll, elbo_terms, nll_nats
from jaxae.inputs import check_data
from jaxae.recipe import Model

D = 3
KEY = jax.random.key(0)


def _model(scale, log_std, bias=0.0):
    """q(z | x) = N(scale·x + bias, exp(2·log_std)·I), and p(x) = N(0, 2I)."""
    recipe = recipes.vae(
        (D,),
        D,
        network=networks.FullyConnected(hidden=()),
        likelihood=likelihoods.Gaussian(1.0),
    )
    eye, zeros = np.eye(D, dtype=np.float32), np.zeros((D, D), np.float32)
    encoder = {
        "kernel": jnp.asarray(np.concatenate([scale * eye, zeros], axis=1)),
        "bias": jnp.asarray([bias] * D + [log_std] * D),
    }
    decoder = {"kernel": jnp.asarray(eye), "bias": jnp.zeros(D)}
    params = {"bottleneck": {"Dense_0": encoder}, "decoder": {"Dense_0": decoder}}
    return Model(recipe, {"params": params})


EXACT = _model(0.5, 0.5 * np.log(0.5))  # the posterior is N(x/2, I/2)
LOOSE = _model(0.2, np.log(0.9), 0.3)


def _x(n, seed=0):
    """Draws from p(x)."""
    draws = np.random.default_rng(seed).normal(0, np.sqrt(2), (n, D))
    return draws.astype(np.float32)


def _log_p(x):
    return scipy.stats.norm.logpdf(x, 0, np.sqrt(2)).sum(-1)


def _standard_error(values):
    return values.std() / np.sqrt(values.size)


# With the exact posterior

# log p(x) is a sum of a few float32 numbers of size 1 to 30.
ROUNDING = 1e-5


@pytest.mark.parametrize("num_samples", [1, 7, 1200])
def test_with_the_exact_posterior_the_nll_has_no_variance(num_samples):
    x = _x(20)
    nll = nll_nats(EXACT, x, KEY, num_samples=num_samples, chunk=20)
    np.testing.assert_allclose(nll, -_log_p(x), rtol=ROUNDING, atol=ROUNDING)


def test_with_the_exact_posterior_every_log_weight_is_log_p():
    x = _x(20)
    batch = {"x": jnp.asarray(x), "inputs": jnp.asarray(x)}
    trace = jax.jit(partial(EXACT.module.apply, num_samples=5))
    weights = objectives.log_weights(trace(EXACT.variables, batch, KEY))
    expected = np.broadcast_to(_log_p(x), (5, 20))
    np.testing.assert_allclose(weights, expected, rtol=ROUNDING, atol=ROUNDING)


def test_with_the_exact_posterior_the_elbo_is_log_p():
    x = _x(2000)
    terms = elbo_terms(EXACT, x, KEY)
    gap = terms["elbo_nats"] - _log_p(x)
    assert abs(gap.mean()) < 4 * _standard_error(gap)
    # KL(N(x/2, I/2) || N(0, I)).
    rate = 0.5 * (x**2 / 4 + 0.5 - 1 + np.log(2)).sum(-1)
    np.testing.assert_allclose(terms["rate_nats"], rate, rtol=1e-5, atol=1e-6)


# With another posterior


def _elbo(x):
    """The ELBO of LOOSE in closed form."""
    mean, variance = 0.2 * np.float64(x) + 0.3, 0.81
    distortion = 0.5 * ((x - mean) ** 2 + variance + np.log(2 * np.pi))
    rate = 0.5 * (mean**2 + variance - 1 - np.log(variance))
    return -(distortion + rate).sum(-1)


def test_more_samples_tighten_the_bound_and_none_crosses_it():
    x = _x(4000)
    # Draws that share nothing, so that errors are those of independent means.
    bounds = [_elbo(x)] + [
        -nll_nats(LOOSE, x, jax.random.key(s), num_samples=s, chunk=500)
        for s in (1, 2, 8)
    ]
    gaps = [_log_p(x) - bound for bound in bounds]
    means = np.array([gap.mean() for gap in gaps])
    errors = np.array([_standard_error(gap) for gap in gaps])
    # ELBO = L_1; every further step gains significantly, and none reaches log p.
    assert abs(means[1] - means[0]) < 4 * np.hypot(errors[1], errors[0])
    assert means[0] > 1
    gains, spread = means[1:-1] - means[2:], np.hypot(errors[1:-1], errors[2:])
    assert np.all(gains > 4 * spread)
    assert means[-1] > -4 * errors[-1]


def test_many_samples_find_the_closed_form():
    x = _x(40)
    nll = nll_nats(LOOSE, x, KEY, num_samples=5000, sample_chunk=500)
    # The delta method: the spread of the estimate is that of the weights, divided by
    # sqrt(5000). At S = 5,000 it was .03 at most, and .01 on average.
    np.testing.assert_allclose(nll, -_log_p(x), atol=0.15)
    assert abs(np.mean(nll + _log_p(x))) < 0.02


def test_the_elbo_is_the_closed_form_in_expectation():
    x = _x(50)
    terms = elbo_terms(LOOSE, x, KEY, num_samples=2000)
    np.testing.assert_allclose(
        terms["elbo_nats"], -terms["distortion_nats"] - terms["rate_nats"], rtol=1e-5
    )
    # Per sample the distortion's std is about |x - z|·.9·√3, some 5 nats.
    np.testing.assert_allclose(terms["elbo_nats"], _elbo(x), atol=5 * 5 / 2000**0.5)


# Chunks and company


@pytest.mark.parametrize(("chunk", "sample_chunk"), [(1, 1), (3, 4), (7, 50)])
def test_chunks_change_nothing(chunk, sample_chunk):
    x = _x(11)
    whole = nll_nats(LOOSE, x, KEY, num_samples=10, chunk=11, sample_chunk=10)
    chunked = nll_nats(
        LOOSE,
        x,
        KEY,
        num_samples=10,
        chunk=chunk,
        sample_chunk=sample_chunk,
    )
    # The same numbers; only the vectorised code that XLA makes may round otherwise.
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


def test_the_elbo_does_not_depend_on_the_chunk():
    x = _x(11)
    whole, chunked = (elbo_terms(LOOSE, x, KEY, chunk=chunk) for chunk in (11, 4))
    for name, values in whole.items():
        np.testing.assert_allclose(chunked[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("binary", [False, True])
def test_an_example_does_not_depend_on_the_others(binary):
    model, x = LOOSE, _x(9)
    if binary:
        # Its pixels are drawn by the key, too.
        recipe = recipes.vae((D,), 2, network=networks.FullyConnected(hidden=()))
        model = init(recipe, KEY)
        x = np.random.default_rng(0).random((9, D), np.float32)
    others = np.concatenate([x[:4], x[:3]])
    options = {"num_samples": 10, "chunk": 1}
    first, second = (nll_nats(model, data, KEY, **options) for data in (x, others))
    np.testing.assert_allclose(second[:4], first[:4], rtol=1e-6)
    # The same image under another number is estimated by other draws.
    assert not np.allclose(second[4:], first[:3], rtol=1e-6)


def test_another_key_is_another_estimate():
    x = _x(4)
    a, b = (nll_nats(LOOSE, x, jax.random.key(i), num_samples=5) for i in (0, 1))
    assert not np.allclose(a, b)


def _temporary_bytes(num_samples, chunk=5, sample_chunk=20):
    data = check_data(LOOSE.recipe, _x(10), "images")
    keys = jax.random.split(KEY, 10)
    static = (num_samples, sample_chunk)
    recipe, variables = LOOSE.recipe, LOOSE.variables
    lowered = examples._mapped.lower(
        _nll, recipe, chunk, static, {}, variables, data, keys, ()
    )
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.usefixtures("optimized")
def test_memory_does_not_grow_with_the_samples_codes():
    few, many = _temporary_bytes(200), _temporary_bytes(2000)
    # What is kept of a sample of an example is its key (8 bytes, perhaps twice while
    # they are split) and its log weight (4): not its code or its image (12 each).
    per_sample = (many - few) / (1800 * 5)
    assert 0 < per_sample <= 32


# Errors


def _untrained(recipe):
    return Model(recipe, {})


@pytest.mark.parametrize("function", [nll_nats, elbo_terms])
@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            recipes.autoencoder((D,), 2),
            "model must be .* got AutoEncoder with no prior and Gaussian",
        ),
        (
            recipes.vae((D,), 2, likelihood="binary_cross_entropy"),
            "model must be .* normalised over x, got .* and BinaryCrossEntropy",
        ),
    ],
)
def test_a_model_without_p_of_x_is_refused(function, recipe, message):
    with pytest.raises(ValueError, match=message):
        function(_untrained(recipe), _x(2), KEY)


@pytest.mark.parametrize("name", ["num_samples", "chunk", "sample_chunk"])
def test_a_number_below_one_is_named(name):
    with pytest.raises(
        ValueError, match=f"{name} must be a whole number of at least 1, got 0"
    ):
        nll_nats(EXACT, _x(2), KEY, **{name: 0})


def test_images_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"data must be of shape \[n, 3\]"):
        nll_nats(EXACT, np.zeros((2, D + 1), np.float32), KEY)
