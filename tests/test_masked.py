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


def _recipe():
    return masked_autoencoder(SHAPE, patch=2, rate=0.5, width=8, depth=2)


@pytest.fixture(scope="module")
def fitted():
    return jaxae.fit(
        _recipe(), X, key=jax.random.key(0), epochs=15, batch_size=8, progress=False
    )


def test_patches_are_cut_out_row_by_row_and_put_back():
    x = jnp.arange(2 * 4 * 6 * 3, dtype=jnp.float32).reshape(2, 4, 6, 3)
    cut = patchify(x, 2)
    for i in range(2):
        for j in range(3):
            own = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(2, -1)
            np.testing.assert_array_equal(cut[:, 3 * i + j], own)
    np.testing.assert_array_equal(unpatchify(cut, (4, 6, 3), 2), x)


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
    damaged, mask = Patches(2, rate, fill=0.5)(jax.random.key(0), jnp.asarray(X))
    assert mask.shape == (8, 4, 8, 1)
    hidden = hidden_patches(mask, 2)
    np.testing.assert_array_equal(hidden.sum(axis=1), round(8 * rate))
    # Whole patches: four pixels each.
    np.testing.assert_array_equal(mask.sum(axis=(1, 2, 3)), 4 * round(8 * rate))
    np.testing.assert_array_equal(damaged, np.where(mask, 0.5, X))


def test_every_patch_is_removed_equally_often():
    count = 4000
    x = jnp.zeros((count, *SHAPE))
    hidden = hidden_patches(Patches(2, 0.25)(jax.random.key(0), x)[1], 2)
    error = np.sqrt(0.25 * 0.75 / count)
    np.testing.assert_allclose(hidden.mean(axis=0), 0.25, atol=4 * error)


def test_hidden_pixels_do_not_influence_the_code():
    _, mask = Patches(2, 0.5)(jax.random.key(0), jnp.asarray(X))
    # More patches are hidden in the last image than the encoder leaves room for.
    mask = mask.at[-1].set(mask[-1].at[:2].set(True))
    apply = jax.jit(partial(ENCODER.apply, train=True))
    variables = ENCODER.init(jax.random.key(1), {"values": X, "mask": mask})
    one = apply(variables, {"values": X, "mask": mask})
    other = apply(variables, {"values": jnp.where(mask, 7.0, X), "mask": mask})
    np.testing.assert_array_equal(one, other)
    seen = apply(variables, {"values": jnp.where(mask, X, 7.0), "mask": mask})
    assert (jnp.abs(seen - one).max(axis=(1, 2)) > 1e-3).all()
    assert one.shape == (8, 4, 8)
    valid = np.asarray((~hidden_patches(mask, 2)).sum(axis=1))
    assert valid[-1] < 4
    for tokens, number in zip(np.asarray(one), valid, strict=True):
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
    variables = narrow.init(jax.random.key(1), shown)
    tokens = narrow.apply(variables, shown)
    assert tokens.shape == (8, 8, 8)
    assert narrow.apply(variables, shown, train=True).shape == (8, 2, 8)
    assert (jnp.abs(tokens[:, :7]).max(axis=-1) > 0).all()
    changed = X.at[:, -1, -1].add(1.0)
    last = narrow.apply(variables, {**shown, "values": changed})
    assert (jnp.abs(last - tokens).max(axis=(1, 2)) > 1e-4).all()


def test_without_a_mask_all_patches_are_encoded():
    variables = ENCODER.init(jax.random.key(1), {"values": X})
    open_ = np.zeros((8, *SHAPE), bool)
    all_ = ENCODER.apply(variables, {"values": X})
    assert all_.shape == (8, 8, 8)
    shown = {"values": X, "mask": jnp.asarray(open_)}
    same = ENCODER.clone(num_visible=8).apply(variables, shown)
    np.testing.assert_allclose(all_, same, rtol=1e-5, atol=1e-6)


def test_the_decoder_puts_the_tokens_where_they_were():
    decoder = ViTDecoder(SHAPE, 2, width=8, depth=1, num_heads=2)
    mask = np.ones((1, *SHAPE), bool)
    mask[:, 2:, 4:6] = False
    z = jax.random.normal(jax.random.key(0), (1, 1, 8))
    variables = decoder.init(
        jax.random.key(1), {"values": z, "mask": jnp.asarray(mask)}
    )
    # Without attention between the tokens a patch is a function of its own alone.
    own = jax.tree.map_with_path(
        lambda path, leaf: 0.0 * leaf if "Multi" in str(path) else leaf, variables
    )
    one, other = (
        decoder.apply(own, {"values": code, "mask": jnp.asarray(mask)})
        for code in (z, z + 1.0)
    )
    changed = np.asarray(jnp.abs(one - other) > 1e-6)
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
