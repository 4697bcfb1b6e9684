"""Image quality against scikit-image and numpy, and all numbers of a model at once."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics
from flax import linen as nn

from jaxae import bottlenecks, corruptions, evaluation, networks, objectives, recipes
from jaxae.evaluation import NAMES, evaluate, reconstruction_quality
from jaxae.likelihoods import Gaussian
from jaxae.models.autoencoder import AutoEncoder
from jaxae.preparation import unit_interval
from jaxae.recipe import Model, Recipe

KEY = jax.random.key(0)
SHAPE = (6, 5, 2)


def _pair(shape, b=3, seed=0):
    """Images and noisy copies of them, in [0, 1]."""
    rng = np.random.default_rng(seed)
    smooth = rng.random((b, *shape)).cumsum(axis=1)
    a = smooth / smooth.max()
    noisy = np.clip(a + 0.1 * rng.standard_normal(a.shape), 0, 1)
    return a.astype(np.float32), noisy.astype(np.float32)


# Scores of pairs


def test_mse_is_the_mean_over_the_values_of_each_example():
    a, b = _pair((7, 9, 3))
    found = evaluation.mean_squared_error(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(found, ((a - b) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_psnr_is_that_of_scikit_image():
    a, b = _pair((7, 9, 3))
    found = evaluation.psnr_db(jnp.asarray(a), jnp.asarray(b))
    score = functools.partial(skimage.metrics.peak_signal_noise_ratio, data_range=1)
    expected = [score(*pair) for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("data_range", [255.0, 0.25])
def test_psnr_and_ssim_of_images_with_another_range(data_range):
    a, b = (np.float32(data_range) * image for image in _pair((13, 12, 3)))
    compare = {
        evaluation.psnr_db: skimage.metrics.peak_signal_noise_ratio,
        evaluation.ssim: functools.partial(
            skimage.metrics.structural_similarity, **SKIMAGE
        ),
    }
    for score, reference in compare.items():
        found = jax.jit(score, static_argnums=2)(a, b, data_range)
        pairs = zip(a, b, strict=True)
        expected = [reference(*pair, data_range=data_range) for pair in pairs]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=SSIM_ERROR)
        with pytest.raises(ValueError, match="data_range must be above 0, got 0"):
            score(jnp.asarray(a), jnp.asarray(b), data_range=0.0)


def test_psnr_of_equal_images_is_100_and_of_nearly_equal_ones_not():
    a = jnp.asarray(_pair((7, 9, 3))[0])
    np.testing.assert_allclose(evaluation.psnr_db(a, a), 100, rtol=1e-6)
    # An error of 2e-5 is 94 dB; float32 leaves 1e-7 of differences of numbers near 1.
    np.testing.assert_allclose(evaluation.psnr_db(a, a + 2e-5), 93.979, atol=0.05)


# float32 takes variances of 1e-3 from second moments of 1, beside the constant of 9e-4
# in the denominator: errors of 1e-7 become 1e-4 at worst.
SSIM_ERROR = 1e-4

SKIMAGE = {
    "channel_axis": -1,
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
}
"""scikit-image's structural similarity as Wang et al. (2004) define it."""


@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (32, 32, 3), (11, 17, 1), (13, 12, 3), (11, 11, 1)]
)
def test_ssim_is_that_of_scikit_image(shape):
    a, b = _pair(shape)
    found = jax.jit(evaluation.ssim)(a, b)
    expected = [
        skimage.metrics.structural_similarity(x, y, data_range=1.0, **SKIMAGE)
        for x, y in zip(a, b, strict=True)
    ]
    assert np.ptp(expected) > 10 * SSIM_ERROR and max(expected) < 0.99
    np.testing.assert_allclose(found, expected, rtol=0, atol=SSIM_ERROR)


def _ssim(a, b, size):
    """Wang et al. 2004, equations 13 to 17, in float64, one window at a time."""
    a, b = np.float64(a), np.float64(b)
    line = np.exp(-0.5 * ((np.arange(size) - size // 2) / 1.5) ** 2)
    weights = np.outer(line, line)[..., None] / line.sum() ** 2
    scores = []
    for i in range(a.shape[0] - size + 1):
        for j in range(a.shape[1] - size + 1):
            x, y = (image[i : i + size, j : j + size] for image in (a, b))
            mx, my = ((weights * v).sum((0, 1)) for v in (x, y))
            vx, vy = (
                (weights * v**2).sum((0, 1)) - m**2 for v, m in ((x, mx), (y, my))
            )
            cov = (weights * x * y).sum((0, 1)) - mx * my
            c1, c2 = 0.01**2, 0.03**2
            luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
            scores.append(luminance * (2 * cov + c2) / (vx + vy + c2))
    return np.mean(scores)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((28, 30, 1), 11),
        ((7, 9, 1), 7),
        ((8, 10, 3), 7),
        ((20, 5, 1), 5),
        ((2, 2, 1), 1),
    ],
)
def test_ssim_of_small_images_has_the_largest_odd_window(shape, size):
    a, b = _pair(shape)
    expected = [_ssim(*pair, size) for pair in zip(a, b, strict=True)]
    found = jax.jit(evaluation.ssim)(a, b)
    np.testing.assert_allclose(found, expected, rtol=0, atol=SSIM_ERROR)


def test_ssim_of_equal_images_is_one():
    a, _ = _pair((7, 9, 3))
    np.testing.assert_allclose(jax.jit(evaluation.ssim)(a, a), 1, rtol=1e-6)


def test_ssim_of_images_far_from_zero():
    """The variances are those of what differs, whatever the images have in common."""
    a, b = (image + np.float32(100) for image in _pair((13, 12, 3)))
    expected = [
        skimage.metrics.structural_similarity(
            np.float64(x), np.float64(y), data_range=1.0, **SKIMAGE
        )
        for x, y in zip(a, b, strict=True)
    ]
    found = jax.jit(evaluation.ssim)(a, b)
    np.testing.assert_allclose(found, expected, rtol=0, atol=SSIM_ERROR)


def test_ssim_names_what_are_no_pairs_of_images():
    image = jnp.zeros((2, 8, 8, 1))
    for other in (image[..., 0], image[:, 1:]):
        with pytest.raises(ValueError, match="a and b must be images"):
            evaluation.ssim(other, image)


def test_active_units_are_the_dimensions_that_vary():
    n = 100
    wave = np.where(np.arange(n) % 2, 1.0, -1.0)
    # Variances 0 (far from 0), .0081 and .0121 on either side of .01, and 4.
    codes = np.stack([np.full(n, 7.0), 0.09 * wave, 0.11 * wave, 2 * wave], axis=1)
    assert evaluation.active_units(codes) == 2
    assert evaluation.active_units(codes, threshold=0.005) == 3
    assert evaluation.active_units(codes, threshold=5.0) == 0
    weight = np.arange(n) % 3 + 0.0
    repeated = np.repeat(codes, weight.astype(int), axis=0)
    for at in np.var(repeated, axis=0)[1:]:
        counts = [
            evaluation.active_units(codes, threshold=near, weight=weight)
            for near in (0.999 * at, 1.001 * at)
        ]
        assert counts[0] == counts[1] + 1


# Scores of a model whose output is known: factor · (what the encoder saw)


class _Scale(nn.Module):
    factor: float = 1.0

    @nn.compact
    def __call__(self, x, *, train=False):
        return self.factor * x


def _scaling(factor, corruption, shape=SHAPE):
    parts = (_Scale(), bottlenecks.Deterministic(None), _Scale(factor), Gaussian())
    module = AutoEncoder(shape, *parts)
    objective = objectives.Reconstruction()
    return Model(Recipe(module, objective, unit_interval, corruption), {})


def _images(n=7, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((n, *shape), np.float32)


def _negative(key, x):
    return 1.0 - x, None


def _mse(a, b):
    return ((a - b) ** 2).mean(axis=(1, 2, 3))


def test_without_damage():
    x = _images()
    found = reconstruction_quality(_scaling(0.5, corruptions.identity), x, KEY)
    assert found.keys() == {"mse", "psnr_db", "ssim"}
    np.testing.assert_allclose(found["mse"], _mse(0.5 * x, x), rtol=1e-5)
    np.testing.assert_allclose(
        found["psnr_db"], -10 * np.log10(_mse(0.5 * x, x)), rtol=1e-5
    )
    expected = [_ssim(0.5 * image, image, 5) for image in x]
    np.testing.assert_allclose(found["ssim"], expected, rtol=0, atol=SSIM_ERROR)


def test_with_damage_the_target_is_the_clean_image():
    x = _images()
    found = reconstruction_quality(_scaling(0.5, _negative), x, KEY)
    restored, damaged = 0.5 * (1 - x), 1 - x
    np.testing.assert_allclose(found["mse"], _mse(restored, x), rtol=1e-5)
    before = -10 * np.log10(_mse(damaged, x))
    np.testing.assert_allclose(found["psnr_damaged_db"], before, rtol=1e-5)
    after = -10 * np.log10(_mse(restored, x))
    np.testing.assert_allclose(found["psnr_gain_db"], after - before, rtol=1e-4)
    assert "hole_mse" not in found


def test_a_model_that_returns_the_damaged_image_gains_nothing():
    model = _scaling(1.0, corruptions.GaussianNoise(0.2))
    found = reconstruction_quality(model, _images(), KEY)
    # XLA may round the two equal errors otherwise.
    np.testing.assert_allclose(found["psnr_gain_db"], 0.0, atol=1e-4)
    # And its error is that of the noise: 420 values, five standard errors.
    assert abs(found["mse"].mean() - 0.04) < 5 * 0.04 * math.sqrt(2 / 420)


def test_in_a_hole_the_model_counts_and_elsewhere_the_image():
    x, means = _images(), _images(1, seed=1)[0]
    hole = np.zeros(SHAPE, bool)
    hole[1:4, 2:4] = True
    model = _scaling(0.5, corruptions.Holes(3, 2, at=(1, 2), fill=0.8))
    found = reconstruction_quality(model, x, KEY, mean_fill=means)
    output = np.where(hole, np.float32(0.4), x)
    damaged = np.where(hole, np.float32(0.8), x)
    np.testing.assert_allclose(found["mse"], _mse(output, x), rtol=1e-5)
    expected = ((output - x) ** 2)[:, hole].mean(-1)
    np.testing.assert_allclose(found["hole_mse"], expected, rtol=1e-5)
    expected = ((means - x) ** 2)[:, hole].mean(-1)
    np.testing.assert_allclose(found["hole_mse_mean_fill"], expected, rtol=1e-5)
    before = -10 * np.log10(_mse(damaged, x))
    np.testing.assert_allclose(found["psnr_damaged_db"], before, rtol=1e-5)


def test_bytes_are_levels():
    model = _scaling(0.5, corruptions.identity)
    stored = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)
    found = reconstruction_quality(model, stored, KEY)["mse"]
    np.testing.assert_allclose(found, _mse(stored / 510, stored / 255), rtol=1e-5)


def test_quality_does_not_depend_on_the_chunk_or_the_company():
    model, x = _scaling(0.5, corruptions.GaussianNoise(0.2), (4,)), _images(shape=(4,))
    whole = reconstruction_quality(model, x, KEY)
    chunked = reconstruction_quality(model, x, KEY, chunk=3)
    fewer = reconstruction_quality(model, x[:4], KEY)
    for name, values in whole.items():
        # The same numbers; other vectorised code may round otherwise.
        np.testing.assert_allclose(chunked[name], values, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(fewer[name], values[:4], rtol=1e-5, err_msg=name)


# All numbers at once

ALWAYS = {"mse", "psnr_db"}
DAMAGED = {"psnr_damaged_db", "psnr_gain_db"}
HOLES = {"hole_mse", "hole_mse_mean_fill"}
ELBO = {"elbo_nats", "rate_nats", "distortion_nats", "active_units"}
NLL = {"nll_nats", "nll_samples", "bits_per_dim"}
EXPLAINED = {"explained_variance"}
SPARSE = {"l0", "dead_fraction"}
CODES = {"codebook_usage", "codebook_perplexity"}
LINEAR = networks.FullyConnected(hidden=())


@pytest.mark.parametrize(
    ("recipe", "options", "expected"),
    [
        (
            recipes.autoencoder(SHAPE, 2, network=LINEAR),
            {},
            ALWAYS | {"ssim"} | EXPLAINED,
        ),
        (recipes.autoencoder((4,), 2, network=LINEAR), {}, ALWAYS | EXPLAINED),
        (
            recipes.sparse_autoencoder((4,), 6, k=2),
            {},
            ALWAYS | EXPLAINED | SPARSE,
        ),
        (
            recipes.vqvae((4,), 3, 2, network=LINEAR, num_quantizers=2),
            {},
            ALWAYS | CODES,
        ),
        (
            recipes.denoising_autoencoder(SHAPE, 2, network=LINEAR),
            {},
            ALWAYS | {"ssim"} | DAMAGED,
        ),
        (
            recipes.inpainting_autoencoder(SHAPE, 2, network=LINEAR),
            {"mean_fill": np.full(SHAPE, 0.5)},
            ALWAYS | {"ssim"} | DAMAGED | HOLES,
        ),
        (
            recipes.vae(SHAPE, 2, network=LINEAR),
            {"nll_samples": 20},
            ALWAYS | {"ssim"} | ELBO | NLL,
        ),
        (
            recipes.vae((4,), 2, network=LINEAR, likelihood="gaussian"),
            {"nll_samples": 0},
            ALWAYS | ELBO,
        ),
        (
            # Not a likelihood: neither an ELBO nor an NLL may be named.
            recipes.vae((4,), 2, network=LINEAR, likelihood="binary_cross_entropy"),
            {},
            ALWAYS,
        ),
    ],
    ids=[
        "ae",
        "vectors",
        "sparse",
        "discrete",
        "denoiser",
        "inpainter",
        "vae",
        "no_nll",
        "bce",
    ],
)
def test_evaluate_has_a_number_for_all_that_the_family_has(recipe, options, expected):
    shape = recipe.module.shape
    x, key = _images(5, shape), jax.random.key(1)
    batch = {"x": jnp.asarray(x), "inputs": jnp.asarray(x)}
    variables = jax.jit(recipe.module.init)(key, batch, key)
    found = evaluate(Model(recipe, variables), x, KEY, **options)
    assert tuple(found) == NAMES
    assert {name for name, value in found.items() if value is not None} == expected
    assert all(math.isfinite(value) for value in found.values() if value is not None)
    if "elbo_nats" in expected:
        terms = found["distortion_nats"] + found["rate_nats"]
        assert found["elbo_nats"] == pytest.approx(-terms, rel=1e-5)
    if "nll_nats" in expected:
        nats = found["bits_per_dim"] * math.log(2) * math.prod(shape)
        assert found["nll_nats"] == pytest.approx(nats, rel=1e-6)
        assert found["nll_samples"] == 20


@pytest.mark.parametrize("count", [1, 3])
def test_examples_that_are_all_alike_have_no_variance_to_explain(count):
    x = np.tile(_images(1, (4,)), (count, 1))
    model = _scaling(0.5, corruptions.identity, (4,))
    found = evaluate(model, x, KEY)
    assert found["explained_variance"] is None
    assert found["mse"] == pytest.approx((0.25 * x**2).mean(), rel=1e-5)
    other = np.concatenate([x, 2 * x])
    assert evaluate(model, other, KEY)["explained_variance"] < 0
