"""The U-Net, whose code is the features of every size."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import corruptions, likelihoods, networks, recipes, views
from jaxae.models.unet import UNet
from jaxae.recipe import Model, compute_in
from jaxae.training import init_state, trained_model

ODD, SIZES = (7, 5, 2), (3, 4, 5)
KEY = jax.random.key(0)
LIKELIHOODS = ("gaussian", "bernoulli", "student_t")


def pictures(shape, count=3, seed=0):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def started(recipe):
    """The model before training."""
    x = jnp.zeros((1, *recipe.module.shape), jnp.float32)
    state = jax.jit(lambda key: init_state(recipe, optax.sgd(0.1), {"x": x}, key))(KEY)
    return trained_model(recipe, state)


def shaken(model):
    """With noise added, as the last layer starts at zero."""
    rng = np.random.default_rng(1)

    def noisy(leaf):
        noise = rng.normal(0.0, 0.3, leaf.shape).astype(np.float32)
        return jax.device_put(np.asarray(leaf) + noise)

    return model.replace(variables=jax.tree.map(noisy, model.variables))


@pytest.fixture(scope="module")
def odd():
    return shaken(started(recipes.unet(ODD, channels=SIZES)))


def test_codes_of_odd_sides_are_smallest_first_and_all_that_the_decoder_needs(odd):
    x = pictures(ODD)
    codes = jaxae.encode(odd, x)
    assert [code.shape[1:] for code in codes] == [(2, 2, 5), (4, 3, 4), (7, 5, 2 + 3)]
    np.testing.assert_array_equal(codes[-1][..., :2], x)
    made = jaxae.decode(odd, codes)
    assert made.shape == x.shape
    np.testing.assert_array_equal(made, jaxae.reconstruct(odd, x))
    for i in range(3):  # every one of them counts
        other = tuple(code + 1.0 * (i == j) for j, code in enumerate(codes))
        assert np.abs(jaxae.decode(odd, other) - made).max() > 1e-2


def test_samples_of_codes_are_decoded_apart(odd):
    x = pictures(ODD)
    first, second = jaxae.encode(odd, x), jaxae.encode(odd, x[::-1])
    both = tuple(jnp.stack(pair) for pair in zip(first, second, strict=True))
    apply = jax.jit(lambda codes: odd.module.apply(odd.variables, codes, {}, **DECODE))
    made = apply(both).mean
    np.testing.assert_allclose(made[0], jaxae.decode(odd, first), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(made[1], made[0][::-1])


DECODE = {"method": "decode"}


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_starts_with_the_picture_as_the_first_parameter(likelihood):
    recipe = recipes.unet((4, 4, 2), channels=(3, 4), likelihood=likelihood)
    x = pictures((4, 4, 2))
    model = started(recipe)
    codes = tuple(code[None] for code in jaxae.encode(model, x))
    decode = jax.jit(partial(model.module.apply, **DECODE))
    each = decode(model.variables, codes, {}).base_dist
    found = getattr(each, {"bernoulli": "logits"}.get(likelihood, "loc"))
    np.testing.assert_allclose(found[0], x, atol=1e-6)


def test_gradients_reach_every_parameter(odd):
    x = jnp.asarray(pictures(ODD))

    @jax.jit
    @jax.grad
    def slope(variables):
        trace = odd.module.apply(variables, {"x": x + 1.0, "inputs": x}, KEY)
        return -trace.likelihood.log_prob(trace.target).mean()

    for path, leaf in jax.tree.leaves_with_path(slope(odd.variables)):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def test_it_undoes_a_damage_of_pairs_that_a_narrow_code_cannot():
    """Blur and a gain; noise is what no code of 8 numbers holds."""
    shape, rng = (8, 8, 1), np.random.default_rng(2)
    clean = rng.random((232, *shape), np.float32)
    damaged = 0.4 * clean + 0.1 * (np.roll(clean, 1, 1) + np.roll(clean, -1, 2)) + 0.1
    train = {"x": clean[:200], "inputs": damaged[:200]}
    fit = {"epochs": 20, "batch_size": 50, "key": KEY, "progress": False}
    fit["tx"] = optax.adam(0.01)

    def error(recipe):
        model = jaxae.fit(recipe, train, **fit).model
        return np.square(jaxae.repair(model, damaged[200:]) - clean[200:]).mean()

    small = networks.FullyConnected((32,))
    narrow = recipes.autoencoder(shape, 8, network=small)
    own = recipes.unet(shape, channels=(6, 6))
    assert error(own) < 0.1 * min(error(narrow), np.square(damaged - clean).mean())


def test_holes_are_shown_and_filled():
    hole = corruptions.Holes(2)
    recipe = recipes.unet((4, 4, 1), channels=(3, 4), corruption=hole, holes=True)
    assert recipe.module.view == views.MaskChannel()
    x = pictures((4, 4, 1), 8)
    fitted = jaxae.fit(recipe, x, key=KEY, epochs=1, batch_size=4, progress=False)
    missing = np.zeros((8, 4, 4, 1), bool)
    missing[:, :2] = True
    model = shaken(fitted.model)
    filled = jaxae.repair(model, x, missing=missing)
    np.testing.assert_array_equal(filled[:, 2:], x[:, 2:])
    assert np.abs(filled - x)[:, :2].min() > 0
    dark = np.where(missing, 0.0, x).astype(np.float32)
    seen, unseen = (
        jaxae.reconstruct(model, dark, missing=each)
        for each in (missing, np.zeros_like(missing))
    )
    assert np.abs(seen - unseen).max() > 1e-3


def test_save_and_load_and_export(odd, tmp_path):
    x = pictures(ODD)
    expected = jaxae.repair(odd, x)
    jaxae.save(odd, tmp_path / "model")
    loaded = jaxae.load(tmp_path / "model")
    assert loaded.recipe == odd.recipe
    np.testing.assert_array_equal(jaxae.repair(loaded, x), expected)
    part = jaxae.export(odd, platforms=("cpu",))["model"]
    made = jax.export.deserialize(part.serialized).call(x)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


def test_half_precision_keeps_the_picture(odd):
    half = Model(compute_in(odd.recipe, "bfloat16"), odd.variables)
    x = pictures(ODD)
    codes = jaxae.encode(half, x)
    assert all(code.dtype == jnp.float32 for code in codes)
    np.testing.assert_array_equal(codes[-1][..., :2], x)
    made, full = jaxae.decode(half, codes), jaxae.repair(odd, x)
    assert made.dtype == jnp.float32 and np.abs(made - full).max() > 0
    np.testing.assert_allclose(made, full, atol=0.05 * np.abs(full).max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4, 4)}, "shape must be"),
        ({"channels": ()}, "channels must be"),
        ({"channels": (4, 0)}, "every size in channels"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        UNet(**{"shape": ODD, "likelihood": likelihoods.Gaussian()} | arguments)


def test_pairs_are_evaluated():
    """Several codes without a posterior, of data that nothing damages."""
    x = np.random.default_rng(0).random((6, 4, 4, 1), np.float32)
    model = jaxae.init(
        jaxae.recipes.unet((4, 4, 1), channels=(2, 2)), jax.random.key(0)
    )
    pairs = {"x": x, "inputs": 0.5 * x}
    numbers = jaxae.evaluation.evaluate(model, pairs, jax.random.key(1))
    # Untrained it gives back what it sees.
    np.testing.assert_allclose(numbers["mse"], np.square(0.5 * x).mean(), rtol=1e-5)
    assert numbers["l0"] is None and abs(numbers["psnr_gain_db"]) < 1e-4


def test_inputs_of_another_shape_are_for_other_families():
    data = {"x": pictures((4, 4, 1)), "inputs": pictures((2, 2, 1))}
    recipe = recipes.unet((4, 4, 1)).replace(corruption=corruptions.identity)
    with pytest.raises(ValueError, match=r"that of x, the only one that a UNet sees"):
        jaxae.fit(recipe, data, key=KEY, progress=False)
