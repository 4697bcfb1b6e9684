"""The masked auto-encoder: patches, the vision transformer and the recipe."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import training
from jaxae.corruptions.patches import Patches
from jaxae.networks.vit import (
    ViTDecoder,
    ViTEncoder,
    hidden_patches,
    patchify,
    positions,
    unpatchify,
)
from jaxae.recipes.masked import masked_autoencoder
from jaxae.types import Context

SHAPE = (4, 8, 1)
X = jnp.asarray(np.float32(np.random.default_rng(0).random((8, *SHAPE))))
ENCODER = ViTEncoder(2, 4, width=8, depth=2, num_heads=2)


def _unused(*arguments):
    raise AssertionError(arguments)


@partial(jax.jit, static_argnums=0)
def _init(module, shown):
    return module.init(jax.random.key(1), shown)


@partial(jax.jit, static_argnames=("module", "train"))
def _apply(module, variables, shown, train=False):
    return module.apply(variables, shown, train=train)


@partial(jax.jit, static_argnums=0)
def _damage(patches, x):
    """With the patches that are hidden of every image."""
    damaged, mask = patches(jax.random.key(0), x)
    return damaged, mask, hidden_patches(mask, 2)


def _recipe():
    return masked_autoencoder(SHAPE, patch=2, rate=0.5, width=8, depth=2)


@pytest.fixture(scope="module")
def fitted():
    return jaxae.fit(
        _recipe(), X, key=jax.random.key(0), epochs=15, batch_size=8, progress=False
    )


def test_patches_are_cut_out_row_by_row_and_put_back():
    x = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
    cut = np.asarray(jax.jit(partial(patchify, size=2))(x))
    for i in range(2):
        for j in range(3):
            own = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(2, -1)
            np.testing.assert_array_equal(cut[:, 3 * i + j], own)
    back = jax.jit(lambda cut: unpatchify(cut, (4, 6, 3), 2))(cut)
    np.testing.assert_array_equal(back, x)


def test_positions_are_sines_and_cosines_of_the_row_and_the_column():
    table = positions(2, 3, 8)
    row, column = 1, 2
    expected = [
        wave(place * frequency)
        for place in (row, column)
        for wave in (np.sin, np.cos)
        for frequency in (1.0, 0.01)
    ]
    np.testing.assert_allclose(table[row * 3 + column], expected, rtol=1e-6)
    assert len(np.unique(table, axis=0)) == 6


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.75, 1.0])
def test_exactly_as_many_patches_are_removed_from_every_image(rate):
    damaged, mask, hidden = map(np.asarray, _damage(Patches(2, rate, fill=0.5), X))
    assert mask.shape == (8, 4, 8, 1)
    np.testing.assert_array_equal(hidden.sum(axis=1), round(8 * rate))
    # Whole patches: four pixels each.
    np.testing.assert_array_equal(mask.sum(axis=(1, 2, 3)), 4 * round(8 * rate))
    np.testing.assert_array_equal(damaged, np.where(mask, 0.5, X))


def test_every_patch_is_removed_equally_often():
    count = 4000
    x = np.zeros((count, *SHAPE), np.float32)
    hidden = np.asarray(_damage(Patches(2, 0.25), x)[2])
    error = np.sqrt(0.25 * 0.75 / count)
    np.testing.assert_allclose(hidden.mean(axis=0), 0.25, atol=4 * error)


def test_hidden_pixels_do_not_influence_the_code():
    mask = np.array(_damage(Patches(2, 0.5), X)[1])
    # More patches are hidden in the last image than the encoder leaves room for.
    mask[-1, :2] = True
    variables = _init(ENCODER, {"values": X, "mask": mask})

    def encode(x):
        return np.asarray(_apply(ENCODER, variables, {"values": x, "mask": mask}, True))

    x, seven = np.asarray(X), np.float32(7.0)
    one = encode(x)
    np.testing.assert_array_equal(one, encode(np.where(mask, seven, x)))
    seen = encode(np.where(mask, x, seven))
    assert (np.abs(seen - one).max(axis=(1, 2)) > 1e-3).all()
    assert one.shape == (8, 4, 8)
    hidden = mask.reshape(8, 2, 2, 4, 2).all(axis=(2, 4)).reshape(8, 8)
    valid = (~hidden).sum(axis=1)
    assert valid[-1] < 4
    for tokens, number in zip(one, valid, strict=True):
        np.testing.assert_array_equal(tokens[number:], 0.0)


@pytest.mark.slow
def test_fewer_visible_patches_are_encoded_as_if_there_was_no_room_for_more():
    mask = np.ones((8, *SHAPE), bool)
    mask[:, :2, 2:6] = False
    shown = {"values": X, "mask": jnp.asarray(mask)}
    variables = ENCODER.init(jax.random.key(1), shown)
    narrow = ENCODER.clone(num_visible=2).apply(variables, shown, train=True)
    for train in (False, True):
        wide = ENCODER.apply(variables, shown, train=train)
        np.testing.assert_allclose(wide[:, :2], narrow, rtol=1e-4, atol=1e-5)


def test_outside_training_all_visible_patches_are_encoded():
    mask = np.zeros((8, *SHAPE), bool)
    mask[:, :2, :2] = True
    shown = {"values": X, "mask": jnp.asarray(mask)}
    narrow = ENCODER.clone(num_visible=2)
    variables = _init(narrow, shown)
    tokens = np.asarray(_apply(narrow, variables, shown))
    assert tokens.shape == (8, 8, 8)
    assert _apply(narrow, variables, shown, train=True).shape == (8, 2, 8)
    assert (np.abs(tokens[:, :7]).max(axis=-1) > 0).all()
    changed = np.array(X)
    changed[:, -1, -1] += 1.0
    last = np.asarray(_apply(narrow, variables, {**shown, "values": changed}))
    assert (np.abs(last - tokens).max(axis=(1, 2)) > 1e-4).all()


def test_without_a_mask_all_patches_are_encoded():
    variables = _init(ENCODER, {"values": X})
    open_ = np.zeros((8, *SHAPE), bool)
    all_ = _apply(ENCODER, variables, {"values": X})
    assert all_.shape == (8, 8, 8)
    shown = {"values": X, "mask": jnp.asarray(open_)}
    same = _apply(ENCODER.clone(num_visible=8), variables, shown)
    np.testing.assert_allclose(all_, same, rtol=1e-5, atol=1e-6)


def test_the_decoder_puts_the_tokens_where_they_were():
    decoder = ViTDecoder(SHAPE, 2, width=8, depth=1, num_heads=2)
    mask = np.ones((1, *SHAPE), bool)
    mask[:, 2:, 4:6] = False
    z = np.float32(np.random.default_rng(0).normal(size=(1, 1, 8)))
    variables = jax.device_get(_init(decoder, {"values": z, "mask": mask}))
    # Without attention between the tokens a patch is a function of its own alone.
    own = jax.tree.map_with_path(
        lambda path, leaf: np.zeros_like(leaf) if "Multi" in str(path) else leaf,
        variables,
    )
    one, other = (
        np.asarray(_apply(decoder, own, {"values": code, "mask": mask}))
        for code in (z, z + np.float32(1.0))
    )
    changed = np.abs(one - other) > 1e-6
    assert changed[~mask].any()
    assert not changed[mask].any()


@pytest.mark.slow
def test_the_loss_counts_the_hidden_patches_alone():
    recipe = _recipe()
    state = training.init_state(
        recipe, optax.adam(1e-3), {"x": jnp.asarray(X)}, jax.random.key(0)
    )
    inputs, mask = recipe.corruption(jax.random.key(1), jnp.asarray(X))
    variables = {"params": state.params["model"]}
    batch = {"x": jnp.asarray(X), "inputs": inputs, "mask": mask}
    trace = recipe.module.apply(variables, batch, jax.random.key(2))

    step = jnp.zeros((), jnp.int32)
    context = Context(jax.random.key(0), step, batch, {}, _unused, _unused)

    def loss(target):
        moved = trace._replace(target=target)
        return recipe.objective.loss({}, moved, context)[0]

    here = np.asarray(trace.likelihood.mean[0])
    base = trace.likelihood.base_dist
    scale = np.broadcast_to(base.scale, (1, *X.shape))[0]
    each = 0.5 * ((X - here) / scale) ** 2 + np.log(scale * np.sqrt(2 * np.pi))
    expected = np.where(mask, each, 0.0).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(loss(jnp.asarray(X)), expected, rtol=1e-4)
    visible_moved = jnp.where(mask, X, X + 3.0)
    np.testing.assert_array_equal(loss(visible_moved), loss(jnp.asarray(X)))


@pytest.mark.slow
def test_it_trains_and_fills_holes(fitted):
    losses = [row["loss"] for row in fitted.history]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    mask = np.zeros((8, *SHAPE), bool)
    mask[:, :2, :4] = True
    mask[:, 2:, 4:] = True
    restored = np.asarray(jaxae.repair(fitted.model, X, missing=mask))
    np.testing.assert_array_equal(restored[~mask], X[~mask])
    assert np.isfinite(restored).all()
    other = jaxae.repair(fitted.model, np.where(mask, np.nan, X), missing=mask)
    np.testing.assert_array_equal(restored, other)
    # Without a mask there is a token for every patch.
    assert jaxae.encode(fitted.model, X).shape == (8, 8, 8)
    assert jaxae.reconstruct(fitted.model, X).shape == X.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Patches(0), "size must be"),
        (lambda: Patches(2, 1.5), "rate must be"),
        (lambda: Patches(3)(jax.random.key(0), jnp.asarray(X)), "multiples of"),
        (lambda: ViTEncoder(0, 4), "patch must be"),
        (lambda: ViTEncoder(2, 0), "num_visible must be"),
        (lambda: ViTEncoder(2, 4, width=6), "width must be"),
        (lambda: ViTEncoder(2, 4, depth=0), "depth must be"),
        (lambda: ViTDecoder(SHAPE, 3), "shape must be"),
        (lambda: masked_autoencoder(SHAPE, patch=3), "shape must be"),
        (lambda: masked_autoencoder(SHAPE, patch=2, rate=0.01), "rate must be"),
        (lambda: masked_autoencoder((8,)), "shape must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
