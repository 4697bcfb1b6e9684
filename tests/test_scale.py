"""Normalisers: part of a model, applied on the way in and undone on the way out."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import networks, preparation, recipes
from jaxae.corruptions import Holes
from jaxae.evaluation import evaluate, psnr_db, reconstruction_quality
from jaxae.preparation import Log1p, MinMax, Standardize, inverse
from jaxae.training.batch import model_batch
from jaxae.training.checkpoint import restore_progress, restore_state, save_epochs
from jaxae.training.parallel import Parallel, default_mesh, replicated
from jaxae.training.placement import Share
from jaxae.values import fields_of

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
UNITS = np.array([1.0, 1e4, 1e-3], np.float32)
X = (RNG.normal(size=(40, 3)) * UNITS + 5 * UNITS).astype(np.float32)
MLP = networks.FullyConnected((8,))
RECIPE = recipes.vae((3,), 2, likelihood="gaussian", network=MLP)
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
    back = jax.jit(lambda x: inverse(scale, scale(KEY, x)))(x)
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-5)
    assert eval(repr(scale), vars(jaxae)) == scale


@pytest.mark.parametrize("kind", [Standardize, MinMax])
@pytest.mark.parametrize("form", [list, np.asarray, jnp.asarray])
def test_numbers_are_plain_however_they_come(kind, form):
    found, expected = kind(form([0, 1]), form([2.0, 3.0])), kind((0.0, 1.0), (2.0, 3.0))
    assert found == expected and hash(found) == hash(expected)
    assert repr(found) == repr(expected)
    one = kind(np.float32(0.5), np.asarray(2))
    assert repr(one) == repr(kind(0.5, 2.0))


def test_a_saved_model_has_its_scale(scaled, tmp_path):
    jaxae.save(scaled.model, tmp_path / "model")
    again = jaxae.load(tmp_path / "model")
    assert again.recipe == scaled.model.recipe
    codes = jaxae.encode(again, X)
    np.testing.assert_array_equal(codes, jaxae.encode(scaled.model, X))


def test_data_that_nobody_scaled_are_said():
    with pytest.warns(UserWarning, match=r"data is large, .*Standardize\(\)\)"):
        jaxae.fit(RECIPE, X, **FIT | {"epochs": 1})
    bounded = recipes.vae((3,), 2, likelihood="continuous_bernoulli", network=MLP)
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
        (lambda: Standardize(np.nan, 1.0), "mean must be a number, .* all finite, got"),
        (lambda: Standardize(0.0, [1.0, np.inf]), "std must be .* all finite"),
        (lambda: MinMax(-np.inf, 1.0), "low must be .* all finite"),
        (lambda: MinMax("a", 1.0), "low must be a number"),
        (lambda: MinMax(0.0, ()), "high must be a number"),
        (lambda: MinMax((0.0, 0.0), (1.0, 1.0, 1.0)), "as many features, got"),
        (
            lambda: Standardize((0.0, 0.0), 1.0)(KEY, jnp.asarray(X)),
            "mean must have a number for each of the 3 features of x, .* got 2",
        ),
        (
            lambda: MinMax(0.0, (1.0, 2.0, 3.0, 4.0)).inverse(jnp.asarray(X)),
            "high must have a number for each of the 3 features of x, .* got 4",
        ),
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
    recipe = recipes.autoencoder((2, 3, 1), 2, network=MLP)
    recipe = recipe.replace(prepare=Standardize())
    fitted = jaxae.fit(recipe, {"x": x, "missing": gaps}, **FIT | {"epochs": 1})
    expected = np.average(x / 255, weights=~gaps)
    np.testing.assert_allclose(fitted.model.recipe.prepare.mean, expected, rtol=1e-5)


def test_codes_for_samplers_are_those_of_encode():
    recipe = recipes.autoencoder((3,), 2, network=MLP)
    model = jaxae.init(recipe.replace(prepare=Standardize().of(X)), KEY)
    found = jaxae.samplers.aggregate_codes(model, X, KEY)
    np.testing.assert_array_equal(found, jaxae.encode(model, X))


@pytest.mark.parametrize("scale", [Standardize(), MinMax(), MinMax(per_feature=False)])
def test_large_data_are_looked_at_in_blocks(scale, monkeypatch):
    weight = RNG.integers(0, 3, 40)
    gaps = np.where(RNG.random(X.shape) < 0.3, np.nan, X)
    whole = scale.of(gaps, weight)
    monkeypatch.setattr(preparation, "_BLOCK", 9)
    for name, value in fields_of(scale.of(gaps, weight)).items():
        np.testing.assert_allclose(value, getattr(whole, name), rtol=1e-6)


def test_a_stream_goes_on_with_the_scale_that_it_began_with(tmp_path):
    """Its first batch is another one by then."""
    recipe = RECIPE.replace(prepare=Standardize())
    batches = [X[:20], X[20:], X[10:30], X[5:25]]
    options = {**FIT, "steps_per_epoch": 2, "tx": optax.adam(1e-3)}
    del options["batch_size"]

    def from_step(done):
        return iter(batches[done:])

    whole = jaxae.fit(recipe, from_step, **options | {"epochs": 2})
    with save_epochs(tmp_path, "loss") as save:
        jaxae.fit(recipe, from_step, callbacks=[save], **options | {"epochs": 1})
    for known in (recipe, whole.model.recipe):
        resume = restore_progress(
            tmp_path, known, options["tx"], Parallel(default_mesh(), replicated)
        )
        again = jaxae.fit(recipe, from_step, resume=resume, **options | {"epochs": 2})
        assert again.model.recipe == whole.model.recipe
        assert again.history[-1]["loss"] == whole.history[-1]["loss"]
    other = recipe.replace(prepare=Standardize(per_feature=False))
    with pytest.raises(jaxae.CheckpointError, match=r"per_feature is True"):
        restore_state(tmp_path, other, options["tx"])


def test_what_the_encoder_sees_is_scaled_beyond_the_limits_of_x():
    recipe = RECIPE.replace(prepare=MinMax(0.0, 2.0))
    batch = {"x": jnp.asarray([[1.0, 2.0, 4.0]])}
    seen = model_batch(recipe, batch, KEY)
    np.testing.assert_allclose(seen["x"], [[0.5, 1.0, 1.0]])
    np.testing.assert_allclose(seen["inputs"], [[0.5, 1.0, 2.0]])
    own = model_batch(recipe, batch | {"inputs": jnp.asarray([[-2.0, 0.0, 1.0]])}, KEY)
    np.testing.assert_allclose(own["inputs"], [[-1.0, 0.0, 0.5]])


def test_inputs_that_a_scale_cannot_take_are_named():
    recipe = RECIPE.replace(prepare=Log1p())
    data = {"x": np.abs(X), "inputs": X - 9.0}
    with pytest.raises(jaxae.ArgumentError, match=r"inputs'\] must be what .*Log1p"):
        jaxae.fit(recipe, data, **FIT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": np.where(X > X.mean(), np.inf, X)}, "data must be finite"),
        ({"x": X, "weight": np.ones(7)}, r"weight'\] must be numbers of shape \[40\]"),
        ([Share({"x": X}, 80)], "prepare must be fitted where hosts have a share"),
    ],
)
def test_what_no_scale_can_be_estimated_from(data, message):
    with pytest.raises(jaxae.ArgumentError, match=message):
        jaxae.fit(RECIPE.replace(prepare=Standardize()), data, **FIT)


def test_psnr_is_of_what_is_stored():
    x = RNG.integers(0, 256, (20, 4, 3, 1)).astype(np.uint8)
    recipe = recipes.autoencoder((4, 3, 1), 2, likelihood="gaussian", network=MLP)
    levels = np.float32(x) / np.float32(255)
    for data, data_range in ((x, 1.0), (levels, float(np.ptp(levels)))):
        own = recipe.replace(prepare=Standardize().of(data))
        model = jaxae.init(own, KEY)
        made = jaxae.reconstruct(model, data)
        quality = reconstruction_quality(model, data, KEY)
        expected = psnr_db(made, jnp.asarray(levels), data_range)
        np.testing.assert_allclose(quality["psnr_db"], expected, rtol=1e-4)


def test_holes_are_filled_with_means_of_what_is_stored():
    x = RNG.uniform(0, 50, (20, 4, 4, 1)).astype(np.float32)
    scale = Standardize().of(x)
    recipe = recipes.inpainting_autoencoder(
        (4, 4, 1), 2, likelihood="gaussian", network=MLP
    )
    recipe = recipe.replace(corruption=Holes(2), prepare=scale)
    model = jaxae.init(recipe, KEY)
    quality = reconstruction_quality(model, x, KEY, mean_fill=x.mean(axis=0))
    # Of values of variance 1.
    assert 0.5 < np.mean(quality["hole_mse_mean_fill"]) < 1.5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            np.where(np.eye(20, 4) > 0, np.nan, 1.0),
            "finite, but 4 of its values are NaN",
        ),
        (
            {"x": np.zeros((20, 4)), "missing": True},
            r"missing must be of shape \(20, 4\)",
        ),
        (
            {"x": np.zeros((20, 4)), "missing": np.ones(20, bool)},
            r"shape \(20, 4\), got",
        ),
        ("x.npy", r"files are opened by jaxae\.Shards, got \(\)"),
        ({"x": [[1.0, 2.0], [1.0]]}, "or its rows are of unequal lengths"),
    ],
)
def test_data_that_a_scale_cannot_be_estimated_from_are_named(data, message):
    """As they are without a scale."""
    for prepare in (Standardize(), MinMax(0.0, 1.0)):
        recipe = recipes.autoencoder((4,), 2).replace(prepare=prepare)
        with pytest.raises(jaxae.ArgumentError, match=message):
            jaxae.fit(recipe, data, key=jax.random.key(0), progress=False)
