"""Normalisers: part of a model, applied on the way in and undone on the way out."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import networks, recipes
from jaxae.evaluation import evaluate
from jaxae.preparation import Log1p, MinMax, Standardize, inverse

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
UNITS = np.array([1.0, 1e4, 1e-3], np.float32)
X = (RNG.normal(size=(40, 3)) * UNITS + 5 * UNITS).astype(np.float32)
RECIPE = recipes.vae(
    (3,), 2, likelihood="gaussian", network=networks.FullyConnected((8,))
)
FIT = {"key": KEY, "epochs": 3, "batch_size": 20, "progress": False}


@pytest.fixture(scope="module")
def scaled():
    return jaxae.fit(RECIPE.replace(prepare=Standardize()), X, **FIT)


@pytest.fixture(scope="module")
def by_hand():
    mean, std = np.float64(X).mean(axis=0), np.float64(X).std(axis=0)
    x = ((X - mean) / std).astype(np.float32)
    return jaxae.fit(RECIPE, x, **FIT), x, mean, std


def test_it_is_training_on_what_was_scaled_by_hand(scaled, by_hand):
    fitted, x, mean, std = by_hand
    np.testing.assert_allclose(scaled.model.recipe.prepare.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(scaled.model.recipe.prepare.std, std, rtol=1e-6)
    losses = [[row["loss"] for row in each.history] for each in (scaled, fitted)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    codes = jaxae.encode(scaled.model, X)
    np.testing.assert_allclose(codes, jaxae.encode(fitted.model, x), atol=1e-3)
    made = jaxae.decode(scaled.model, codes)
    expected = np.asarray(jaxae.decode(fitted.model, codes)) * std + mean
    np.testing.assert_allclose(made, expected, rtol=1e-3)
    numbers = evaluate(scaled.model, X, KEY, nll_samples=5)
    expected = evaluate(fitted.model, x, KEY, nll_samples=5)
    np.testing.assert_allclose(numbers["mse"], expected["mse"], rtol=1e-3)
    np.testing.assert_allclose(numbers["nll_nats"], expected["nll_nats"], rtol=1e-3)


def test_everything_that_comes_out_is_in_the_users_units(scaled):
    model = scaled.model
    missing = np.zeros(X.shape, bool)
    missing[:, 1] = True
    for made in (
        jaxae.reconstruct(model, X),
        jaxae.sample(model, KEY, 40),
        jaxae.sample(model, KEY, 40, draw=True),
        jaxae.interpolate(model, X[:1], X[1:2], steps=5)[0],
        jaxae.repair(model, X, missing=missing),
        jaxae.impute(model, X, missing=missing, key=KEY, num_samples=20),
        jaxae.impute(model, X, missing=missing, key=KEY, num_samples=20, draws=2)[0],
    ):
        ratio = np.asarray(made).mean(axis=0) / (5 * UNITS)
        assert (0.6 < ratio).all() and (ratio < 1.4).all(), ratio
    repaired = jaxae.repair(model, X, missing=missing)
    np.testing.assert_array_equal(repaired[:, [0, 2]], X[:, [0, 2]])


def test_exported_parts_take_and_return_them(scaled):
    parts = jaxae.export(scaled.model, platforms=("cpu",))
    encoder, whole = (
        jax.export.deserialize(bytearray(parts[name].serialized))
        for name in ("encoder", "model")
    )
    np.testing.assert_allclose(
        encoder.call(X), jaxae.encode(scaled.model, X), rtol=1e-4, atol=1e-5
    )
    expected = jaxae.reconstruct(scaled.model, X)
    np.testing.assert_allclose(whole.call(X), expected, rtol=1e-4)


def test_missing_values_and_weights_count_as_they_should():
    weight = np.array([2.0, 1.0, 0.0], np.float32)
    x = np.array([[1.0, np.nan], [4.0, 3.0], [99.0, 7.0]], np.float32)
    found = Standardize().of(x, weight)
    np.testing.assert_allclose(found.mean, [2.0, 3.0])
    np.testing.assert_allclose(found.std, [np.sqrt(2.0), 1.0])
    assert MinMax().of(x, weight) == MinMax((1.0, 3.0), (4.0, 4.0))
    assert MinMax(per_feature=False).of(x, weight) == MinMax(1.0, 4.0, False)
    data = {"x": x, "missing": "nan", "weight": weight}
    recipe = recipes.autoencoder((2,), 1, network=networks.FullyConnected((4,)))
    model = jaxae.fit(recipe.replace(prepare=Standardize()), data, **FIT).model
    np.testing.assert_allclose(model.recipe.prepare.mean, [2.0, 3.0])


@pytest.mark.parametrize("form", ["list", "iterator", "function", "many"])
def test_batches_are_scaled_by_the_first(form):
    recipe = RECIPE.replace(prepare=Standardize())
    expected = Standardize().of(X[:20])
    batches = [X[:20], X[20:]]
    if form == "many":
        keys = jax.vmap(jax.random.key)(np.arange(2))
        options = {k: v for k, v in FIT.items() if k != "key"}
        tx = jaxae.training.programs.default_optimizer()
        fits = jaxae.fit_many(lambda _: (recipe, tx), X, keys=keys, **options)
        for fitted in fits:
            assert fitted.model.recipe.prepare == Standardize().of(X)
        return
    if form == "iterator":
        batches = iter(batches)
    elif form == "function":
        batches = lambda done: iter([X[:20], X[20:]])  # noqa: E731
    fitted = jaxae.fit(recipe, batches, **FIT | {"epochs": 1})
    assert fitted.model.recipe.prepare == expected
    assert int(fitted.state.step) == 2


@pytest.mark.parametrize(
    "scale",
    [Standardize((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), MinMax(-9.0, 99.0), Log1p()],
)
def test_the_way_back(scale):
    x = jnp.asarray(RNG.uniform(0, 9, (7, 3)), jnp.float32)
    np.testing.assert_allclose(inverse(scale, scale(KEY, x)), x, rtol=1e-5, atol=1e-5)
    assert eval(repr(scale), vars(jaxae)) == scale


def test_a_saved_model_has_its_scale(scaled, tmp_path):
    jaxae.save(scaled.model, tmp_path / "model")
    again = jaxae.load(tmp_path / "model")
    assert again.recipe == scaled.model.recipe
    codes = jaxae.encode(again, X)
    np.testing.assert_array_equal(codes, jaxae.encode(scaled.model, X))


def test_data_that_nobody_scaled_are_said():
    with pytest.warns(UserWarning, match=r"data is large, .*Standardize\(\)\)"):
        jaxae.fit(RECIPE, X, **FIT | {"epochs": 1})
    bounded = recipes.vae((3,), 2, likelihood="continuous_bernoulli")
    with pytest.raises(jaxae.ArgumentError, match=r"in \[0, 1\], .*MinMax\(\)\)"):
        jaxae.fit(bounded, X, **FIT)
    fitted = jaxae.fit(bounded.replace(prepare=MinMax()), X, **FIT | {"epochs": 1})
    assert np.isfinite(fitted.history[0]["loss"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Standardize(1.0), "mean and std must be both given or none"),
        (lambda: Standardize(1.0, (1.0, 0.0)), "std must be above 0"),
        (lambda: MinMax(1.0, 1.0), "low and high must be in this order"),
    ],
)
def test_wrong_scales(make, message):
    with pytest.raises(jaxae.ArgumentError, match=message):
        make()


def test_a_scale_without_numbers_is_named_where_it_is_used():
    recipe = RECIPE.replace(prepare=Standardize())
    with pytest.raises(jaxae.ArgumentError, match="prepare must be fitted before"):
        jaxae.training.init_state(recipe, optax.sgd(0.1), {"x": X}, KEY)


def test_bytes_are_levels_of_pictures_alone():
    with pytest.raises(jaxae.ArgumentError, match=r"data must be floats for vectors"):
        jaxae.fit(RECIPE, np.full((40, 3), 7, np.uint8), **FIT)


def test_levels_with_gaps_have_the_scale_of_levels():
    x = RNG.integers(0, 256, (40, 2, 3, 1)).astype(np.uint8)
    gaps = np.zeros(x.shape, bool)
    gaps[0, 0, 0] = True
    recipe = recipes.autoencoder((2, 3, 1), 2).replace(prepare=Standardize())
    fitted = jaxae.fit(recipe, {"x": x, "missing": gaps}, **FIT | {"epochs": 1})
    expected = np.average(x / 255, weights=~gaps)
    np.testing.assert_allclose(fitted.model.recipe.prepare.mean, expected, rtol=1e-5)


def test_codes_for_samplers_are_those_of_encode():
    recipe = recipes.autoencoder((3,), 2).replace(prepare=Standardize().of(X))
    model = jaxae.fit(recipe, X, **FIT | {"epochs": 1}).model
    found = jaxae.samplers.aggregate_codes(model, X, KEY)
    np.testing.assert_array_equal(found, jaxae.encode(model, X))
