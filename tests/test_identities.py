"""Models trained by the library, against what algebra says that they end at.

Every training here is full-batch with a step size that decays to zero, so that what is
left is the rounding of float32 and, where there is noise, the last steps' share of it.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

import jaxae
from jaxae import evaluation, likelihoods, networks, recipes
from jaxae.training import init_state, make_train_step, trained_model

N, D, K = 60, 5, 2
EIGENVALUES = np.array([4.0, 2.0, 0.5, 0.3, 0.1])
DISCARDED = EIGENVALUES[K:]
LINEAR = networks.FullyConnected(hidden=())


def _data(seed=0):
    """[N, D] with exactly these covariance eigenvalues (divisor N); their axes."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((N, D))
    white, _ = np.linalg.qr(white - white.mean(axis=0))
    axes, _ = np.linalg.qr(rng.standard_normal((D, D)))
    x = np.sqrt(N) * white * np.sqrt(EIGENVALUES) @ axes.T + rng.standard_normal(D)
    return x.astype(np.float32), axes


X, AXES = _data()


def test_the_data_have_the_eigenvalues():
    found = np.linalg.eigvalsh(np.cov(np.float64(X).T, bias=True))[::-1]
    np.testing.assert_allclose(found, EIGENVALUES, rtol=1e-5)


def _adam(learning_rate, steps):
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps))


def _train(recipe, x, *, steps, learning_rate):
    """The model after `steps` train steps on the whole of `x`, as one scan."""
    tx = _adam(learning_rate, steps)
    step = make_train_step(recipe, tx)
    batch = {"x": jnp.asarray(np.float32(x))}

    @jax.jit
    def run(key):
        state = init_state(recipe, tx, batch, key)
        return jax.lax.scan(lambda state, _: step(state, batch), state, length=steps)

    state, metrics = run(jax.random.key(0))
    assert state.skipped_in_row == 0
    return trained_model(recipe, state), metrics


def _affine(function, size):
    """(W [size, ...], b) of an affine function of rows, in float64."""
    rows = np.concatenate([np.zeros((1, size)), np.eye(size)]).astype(np.float32)
    values = np.float64(function(rows))
    return values[1:] - values[0], values[0]


def _projection(rows):
    """Onto the span of the rows."""
    return np.linalg.pinv(rows) @ rows


def _scale(model):
    """The standard deviation of a Gaussian likelihood."""
    code = jnp.zeros((1, 1, K))
    p = model.module.apply(model.variables, (code,), {}, method="decode")
    return float(jnp.mean(p.base_dist.scale))


def _bernoulli_entropy(p):
    return -(scipy.special.xlogy(p, p) + scipy.special.xlog1py(1 - p, -p))


# Auto-encoder


def test_a_linear_autoencoder_ends_at_pca():
    recipe = recipes.autoencoder(
        (D,), K, network=LINEAR, likelihood=likelihoods.Gaussian(1.0)
    )
    fitted = jaxae.fit(
        recipe,
        itertools.repeat({"x": X}),
        key=jax.random.key(0),
        epochs=2,
        steps_per_epoch=400,
        tx=_adam(0.05, 800),
        validation=X,
        progress=False,
    )
    output = np.float64(jaxae.reconstruct(fitted.model, X))
    # Second order in the parameters' error, which leaves rounding: 4e-10 was seen.
    minimum = ((output - X) ** 2).sum(axis=1).mean()
    assert minimum == pytest.approx(DISCARDED.sum(), rel=1e-6)
    # Its objective says the same: half the squared error and the constant.
    loss = 0.5 * (DISCARDED.sum() + D * np.log(2 * np.pi))
    best = fitted.history[fitted.best_epoch - 1]["validation_loss"]
    assert best == pytest.approx(loss, rel=1e-5)
    # First order in that error: 4e-7 was seen.
    weights, _ = _affine(lambda z: jaxae.decode(fitted.model, z), K)
    pca = AXES[:, :K] @ AXES[:, :K].T
    np.testing.assert_allclose(_projection(weights), pca, rtol=0, atol=1e-4)
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(
        output, centred @ pca + X.mean(axis=0), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("std", ["shared", "optimal"])
def test_the_best_gaussian_variance_is_the_mse(std):
    recipe = recipes.autoencoder(
        (D,), K, network=LINEAR, likelihood=likelihoods.Gaussian(std)
    )
    model, metrics = _train(recipe, X, steps=800, learning_rate=0.05)
    output = np.float64(jaxae.reconstruct(model, X))
    mse = ((output - X) ** 2).mean()
    assert mse == pytest.approx(DISCARDED.sum() / D, rel=1e-5)
    assert _scale(model) ** 2 == pytest.approx(mse, rel=1e-5)
    # Then the squared error over the variance is D.
    nll = D / 2 * (np.log(2 * np.pi * mse) + 1)
    assert metrics["distortion_nats"][-1] == pytest.approx(nll, abs=1e-5)


# Denoiser


def test_a_linear_denoiser_ends_at_the_wiener_filter():
    std = 0.8
    recipe = recipes.denoising_autoencoder(
        (D,),
        D,
        network=LINEAR,
        corruption=jaxae.corruptions.GaussianNoise(std),
        likelihood=likelihoods.Gaussian(1.0),
    )
    copies = np.tile(X, (20, 1))
    model, _ = _train(recipe, copies, steps=1200, learning_rate=0.02)
    weights, bias = _affine(lambda x: jaxae.reconstruct(model, x), D)
    mean = X.mean(axis=0)
    gain = EIGENVALUES / (EIGENVALUES + std**2)
    wiener = AXES @ np.diag(gain) @ AXES.T
    # The least squares fit of n pairs has standard errors of about
    # sqrt(residual variance .6 / (variance .7 · n)); with n = 1,200 · some 300 steps
    # that are averaged at the end, .0015. The gains range from .14 to .86.
    np.testing.assert_allclose(weights, wiener, rtol=0, atol=0.01)
    np.testing.assert_allclose(mean @ weights + bias, mean, rtol=0, atol=0.01)


# VAE


@pytest.fixture(scope="module")
def linear_vae():
    recipe = recipes.vae(
        (D,),
        K,
        network=LINEAR,
        likelihood=likelihoods.Gaussian("shared"),
        num_samples=32,
    )
    return _train(recipe, X, steps=2500, learning_rate=0.1)[0]


VARIANCE = DISCARDED.mean()
PPCA = -0.5 * (
    D * np.log(2 * np.pi)
    + np.log(EIGENVALUES[:K]).sum()
    + (D - K) * np.log(VARIANCE)
    + D
)


def test_a_linear_vae_ends_at_probabilistic_pca(linear_vae):
    # First order in what the noise of the last steps' draws leaves: .0006 of σ², .0006
    # of the mean and .007 of W'W, whose largest entry is 2, were seen.
    assert _scale(linear_vae) ** 2 == pytest.approx(VARIANCE, rel=5e-3)
    weights, bias = _affine(lambda z: jaxae.decode(linear_vae, z), K)
    np.testing.assert_allclose(bias, X.mean(axis=0), rtol=0, atol=5e-3)
    found = weights.T @ weights
    signal = EIGENVALUES[:K] - VARIANCE
    expected = AXES[:, :K] @ np.diag(signal) @ AXES[:, :K].T
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.03)


def test_the_linear_vaes_likelihood_is_that_of_probabilistic_pca(linear_vae):
    weights, bias = _affine(lambda z: jaxae.decode(linear_vae, z), K)
    covariance = weights.T @ weights + _scale(linear_vae) ** 2 * np.eye(D)
    log_p = scipy.stats.multivariate_normal(bias, covariance).logpdf(X).mean()
    # Second order in that error: 3e-6 was seen. No model of this family is above it.
    assert PPCA - 1e-4 < log_p <= PPCA + 1e-6


def test_the_linear_vaes_bound_is_tight(linear_vae):
    # With one importance sample the mean is the ELBO. The log weights differ by
    # log p(z | x) / q(z | x): a variance v, of which 1e-4 was seen, and a gap of v/2.
    copies = np.tile(X, (20, 1))
    key = jax.random.key(1)
    nll = evaluation.nll_nats(linear_vae, copies, key, num_samples=1, chunk=1200)
    assert -nll.mean() == pytest.approx(PPCA, abs=2e-3)
    assert nll.reshape(20, N).var(axis=0).mean() < 1e-3
    # The distortion's spread of some 1.6 nats leaves .003 in the mean of 60 · 5,000.
    elbo = evaluation.elbo_terms(linear_vae, X, key, num_samples=5000)["elbo_nats"]
    assert elbo.mean() == pytest.approx(PPCA, abs=0.012)
    assert evaluation.active_units(np.asarray(jaxae.encode(linear_vae, X))) == K


def test_a_collapsed_decoder_has_the_cross_entropy_with_the_pixel_means():
    pixels = (np.random.default_rng(0).random((80, 6)) < np.linspace(0.1, 0.8, 6)) * 1.0
    # So high a price that the code is not used. Binarising 0 and 1 changes nothing.
    recipe = recipes.vae((6,), K, network=LINEAR, beta=100.0, num_samples=16)
    model, metrics = _train(recipe, pixels, steps=600, learning_rate=0.03)
    means = pixels.mean(axis=0)
    entropy = _bernoulli_entropy(means).sum()
    nll = evaluation.nll_nats(
        model, pixels, jax.random.key(0), num_samples=20, chunk=80
    )
    # What is left of the code is noise: 3e-5 of the NLL, .001 of one step's were seen.
    assert nll.mean() == pytest.approx(entropy, abs=5e-4)
    assert metrics["distortion_nats"][-1] == pytest.approx(entropy, abs=5e-3)
    assert metrics["rate_nats"][-1] == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(
        jaxae.decode(model, np.eye(K)), np.tile(means, (K, 1)), rtol=0, atol=1e-2
    )
    assert evaluation.active_units(np.asarray(jaxae.encode(model, pixels))) == 0


# Binary cross-entropy


def test_the_floor_of_grey_images_is_their_pixels_entropy():
    grey = np.random.default_rng(0).uniform(0.05, 0.95, (4, 6))
    floor = _bernoulli_entropy(grey).sum(axis=1).mean()
    # Four points and an affine function into six dimensions: every logit is free.
    recipe = recipes.autoencoder(
        (6,), 6, network=LINEAR, likelihood="binary_cross_entropy"
    )
    model, metrics = _train(recipe, grey, steps=800, learning_rate=0.05)
    loss = metrics["loss"]
    # float32 sums of six numbers of size .6.
    assert loss.min() > floor - 1e-5
    assert loss[-1] == pytest.approx(floor, abs=1e-5) and loss[0] > floor + 0.5
    np.testing.assert_allclose(jaxae.reconstruct(model, grey), grey, rtol=0, atol=1e-3)
