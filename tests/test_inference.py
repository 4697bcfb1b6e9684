"""Encode, decode, reconstruct, sample, interpolate, restore."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import (
    Model,
    decode,
    encode,
    inference,
    interpolate,
    networks,
    recipes,
    reconstruct,
    repair,
    sample,
)
from jaxae.errors import ArgumentError
from jaxae.inference import CHUNK
from jaxae.training.initial import abstract_variables
from tests.weights import some_weights

KEY = jax.random.key(0)
MLP = networks.FullyConnected((4,))


def untrained(recipe):
    """With random weights: what is tested here does not depend on what they are."""
    return Model(recipe, some_weights(abstract_variables(recipe), 0.3, seed=7))


@pytest.fixture(scope="module")
def vae():
    return untrained(recipes.vae((4, 3, 1), 2, network=MLP))


@pytest.fixture(scope="module")
def classic():
    return untrained(recipes.autoencoder((4, 3, 1), 2, network=MLP))


@pytest.fixture(scope="module")
def conditional():
    return untrained(recipes.conditional_vae((4, 3, 1), 2, num_labels=2, network=MLP))


@pytest.fixture(scope="module")
def inpainting():
    return untrained(recipes.inpainting_autoencoder((4, 3, 2), 2, network=MLP))


def levels(count, channels=1):
    shape = (count, 4, 3, channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@jax.jit
def posterior(model, images):
    """q(z | x) by the model itself, all examples at once."""
    batch = {"inputs": images}
    variables = model.variables
    (latent,) = model.module.apply(variables, batch, KEY, method="encode")
    return latent.posterior


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1])
def test_any_number_of_images_goes_through(vae, count):
    x = levels(count) / np.float32(255)
    codes = encode(vae, x)
    assert codes.shape == (count, 2)
    np.testing.assert_allclose(codes, posterior(vae, x).mean[0], rtol=1e-5, atol=1e-6)
    images = decode(vae, codes)
    assert images.shape == x.shape and images.dtype == jnp.float32
    decoded = jax.jit(partial(vae.recipe.module.apply, method="decode"))
    mean = decoded(vae.variables, (codes[None],), {}).mean
    np.testing.assert_allclose(images, mean[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(reconstruct(vae, x), images)


def test_bytes_are_levels(vae):
    x = levels(3)
    floats = x.astype(np.float32) / np.float32(255)
    # Numbers near 1, of which these are the sums, are rounded to 6e-8.
    np.testing.assert_allclose(
        encode(vae, x), encode(vae, floats), rtol=1e-6, atol=1e-7
    )


def test_encoding_draws_by_the_key(vae):
    x = levels(3)
    means, drawn = (np.asarray(encode(vae, x, key=key)) for key in (None, KEY))
    np.testing.assert_array_equal(drawn, encode(vae, x, key=KEY))
    assert (drawn != np.asarray(encode(vae, x, key=jax.random.key(1)))).all()
    assert (drawn != means).all()
    through = reconstruct(vae, x, key=KEY)
    np.testing.assert_array_equal(through, decode(vae, drawn))


def test_drawn_codes_follow_the_posterior(vae):
    count = 4000
    x = np.repeat(levels(1), count, axis=0)
    drawn = np.asarray(encode(vae, x, key=KEY))
    q = posterior(vae, x[:1] / np.float32(255))
    mean, std = np.asarray(q.mean)[0], np.asarray(q.variance)[0] ** 0.5
    # Five standard errors; that of a standard deviation is σ / √(2n).
    error = 5 * std / np.sqrt(count)
    assert (np.abs(drawn.mean(axis=0) - mean) < error).all()
    assert (np.abs(drawn.std(axis=0) - std) < error / np.sqrt(2)).all()


def test_samples_are_of_the_prior(vae):
    images = np.asarray(sample(vae, KEY, 5))
    assert images.shape == (5, 4, 3, 1)
    np.testing.assert_array_equal(images, sample(vae, KEY, 5))
    assert (images != sample(vae, jax.random.key(1), 5)).any()
    assert len(np.unique(np.asarray(images).reshape(5, -1), axis=0)) == 5
    drawn = np.asarray(sample(vae, KEY, 5, draw=True))
    assert drawn.shape == images.shape
    assert set(np.unique(drawn)) == {0.0, 1.0}
    # Drawn from the same codes: the mean over all values, to five standard errors.
    probability = np.asarray(images)
    spread = np.sqrt((probability * (1 - probability)).sum()) / probability.size
    assert abs(drawn.mean() - probability.mean()) < 5 * spread


def test_interpolation_ends_at_the_reconstructions(vae):
    start, end = levels(4)[:2], levels(4)[2:]
    walks = interpolate(vae, start, end, steps=3)
    assert walks.shape == (2, 3, 4, 3, 1)
    ends = [np.asarray(encode(vae, each)) for each in (start, end)]
    codes = np.mean(ends, axis=0)
    expected = (reconstruct(vae, start), decode(vae, codes), reconstruct(vae, end))
    walks = np.asarray(walks)
    for i, images in enumerate(expected):
        np.testing.assert_allclose(walks[:, i], images, rtol=1e-5, atol=1e-6)


def holes(count=3):
    mask = np.zeros((count, 4, 3), bool)
    mask[:, 1:3, :2] = True
    return mask


def test_restoring_changes_the_missing_pixels_only(inpainting):
    x, mask = levels(3, 2) / np.float32(255), holes()
    restored = np.asarray(repair(inpainting, x, missing=mask))
    np.testing.assert_array_equal(restored[~mask], x[~mask])
    assert (restored[mask] != x[mask]).all()
    np.testing.assert_array_equal(
        restored, repair(inpainting, x, missing=mask[..., None])
    )


def test_restoring_never_looks_at_the_missing_pixels(inpainting):
    x, mask = levels(3, 2) / np.float32(255), holes()
    expected = repair(inpainting, x, missing=mask)
    for rubbish in (np.nan, np.inf, 7.0):
        damaged = np.where(mask[..., None], np.float32(rubbish), x)
        np.testing.assert_array_equal(
            repair(inpainting, damaged, missing=mask), expected
        )
    as_bytes = repair(inpainting, levels(3, 2), missing=mask)
    # Numbers near 1, of which these are the sums, are rounded to 6e-8.
    np.testing.assert_allclose(as_bytes, expected, rtol=1e-6, atol=1e-7)


def test_the_encoder_is_shown_the_mask_and_the_fill(inpainting):
    x, mask = np.zeros((3, 4, 3, 2), np.float32), holes()
    without = repair(inpainting, x, missing=np.zeros_like(mask))
    np.testing.assert_array_equal(without, x)
    shown = np.asarray(repair(inpainting, x, missing=mask))
    unseen = np.asarray(reconstruct(inpainting, x))
    assert (shown[mask] != unseen[mask]).any()
    filled = np.asarray(repair(inpainting, x, missing=mask, fill=0.5))
    assert (filled[mask] != shown[mask]).any()


def test_restoring_shows_the_label(conditional):
    x, mask = levels(3) / np.float32(255), holes()[..., None]
    filled = np.where(mask, np.float32(0), x)
    first, second = np.zeros(3, np.int64), np.ones(3, np.int64)
    restored = np.asarray(repair(conditional, x, missing=mask, label=first))
    expected = reconstruct(conditional, filled, label=first)
    np.testing.assert_array_equal(restored, np.where(mask, expected, x))
    other = np.asarray(repair(conditional, x, missing=mask, label=second))
    assert (restored[mask] != other[mask]).all()
    whole = repair(conditional, x, label=second)
    np.testing.assert_array_equal(whole, reconstruct(conditional, x, label=second))
    with pytest.raises(ArgumentError, match="label must be given"):
        repair(conditional, x, missing=mask)


def test_restoring_without_a_mask_is_reconstructing(classic):
    x = levels(2)
    np.testing.assert_array_equal(repair(classic, x), reconstruct(classic, x))


def test_deterministic_codes_have_no_distribution(classic):
    with pytest.raises(ArgumentError, match=r"prior p\(z\).*Deterministic"):
        sample(classic, KEY, 2)
    for function in (encode, reconstruct):
        with pytest.raises(ArgumentError, match=r"key must be left out.*deterministic"):
            function(classic, levels(2), key=KEY)


@pytest.mark.parametrize("shape", [(2,), (), (3, 3), (3, 2, 1)])
def test_codes_of_another_shape(vae, shape):
    with pytest.raises(ArgumentError, match=r"codes must be of shape \[n, 2\]"):
        decode(vae, np.zeros(shape, np.float32))


def test_codes_that_are_not_finite(vae):
    with pytest.raises(ArgumentError, match="codes hold a value that is not finite"):
        decode(vae, np.array([[0.0, np.nan]]))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (holes().astype(np.uint8), "missing must be bool, True where .* got 'uint8'"),
        (holes()[:2], r"missing must be of shape \(3, 4, 3, 1\), got \(2, 4, 3, 1\)"),
        (holes()[0], r"missing must be of shape \(3, 4, 3, 1\), got \(4, 3\)"),
    ],
)
def test_wrong_masks(inpainting, mask, message):
    for function in (encode, repair):
        with pytest.raises(ArgumentError, match=message):
            function(inpainting, levels(3, 2), missing=mask)


def test_many_examples_go_block_by_block(vae, monkeypatch):
    """With the same numbers and draws, whatever the size of a block."""
    x = np.tile(levels(3), (7, 1, 1, 1))
    missing = np.random.default_rng(0).random(x.shape) < 0.2
    key = jax.random.key(1)
    expected = encode(vae, x, missing=missing), encode(vae, x, key=key)
    monkeypatch.setattr(inference, "BLOCK", 8)
    found = encode(vae, x, missing=missing), encode(vae, x, key=key)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)


def test_wrong_images(vae):
    hint = r"add the channel axis, x\[\.\.\., None\]"
    for function in (encode, reconstruct, repair):
        with pytest.raises(ArgumentError, match=hint):
            function(vae, levels(2)[..., 0])


def test_wrong_counts(vae):
    with pytest.raises(ArgumentError, match="count must be a whole number"):
        sample(vae, KEY, 0)
    with pytest.raises(ArgumentError, match=r"steps must be .* at least 2, got 1"):
        interpolate(vae, levels(2), levels(2), steps=1)
    with pytest.raises(ArgumentError, match="end must be as many as start"):
        interpolate(vae, levels(2), levels(3))
