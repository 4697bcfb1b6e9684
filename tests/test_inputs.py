"""Data with inputs of their own: the encoder sees them, x is what is explained."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from skimage.transform import resize
from sklearn.datasets import load_digits

import jaxae
from jaxae import corruptions, networks, objectives, recipes
from jaxae.evaluation import evaluate, posterior_means
from jaxae.inputs import on_device
from jaxae.training.batch import model_batch
from jaxae.training.parallel import make_mesh
from jaxae.training.placement import Share, place, place_batch, place_data

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
CLEAN = RNG.random((24, 6)).astype(np.float32)
OWN = {"network": networks.FullyConnected((16,))}
FIT = {"key": KEY, "progress": False}
REAL = recipes.autoencoder((6,), 2, **OWN)


def damaged(x):
    """The user's own damage: a gain, and one value that is lost."""
    return np.where(np.arange(6) == 2, np.float32(0), np.float32(0.5) * x)


def test_pairs_of_clean_and_damaged():
    """It learns to undo the user's damage, which without pairs it cannot see."""
    recipe = recipes.autoencoder((6,), 6, **OWN)
    clean = RNG.random((200, 6)).astype(np.float32)
    fit = {"epochs": 100, "batch_size": 100, "tx": optax.adam(0.01), **FIT}
    model = jaxae.fit(recipe, {"x": clean, "inputs": damaged(clean)}, **fit).model
    plain = jaxae.fit(recipe, clean, **fit).model
    held_out = RNG.random((50, 6)).astype(np.float32)

    def error(model):
        made = np.asarray(jaxae.reconstruct(model, damaged(held_out)))
        return np.square(made - held_out)[:, np.arange(6) != 2].mean()

    assert error(model) < 0.4 * error(plain)


def test_the_inputs_are_what_is_encoded_and_damaged():
    recipe = recipes.denoising_autoencoder((6,), 3, **OWN)
    recipe = recipe.replace(corruption=corruptions.GaussianNoise(0.1))
    batch = {"x": jnp.asarray(CLEAN), "inputs": jnp.asarray(damaged(CLEAN))}
    seen = model_batch(recipe, batch, KEY)
    np.testing.assert_array_equal(seen["x"], CLEAN)
    noise = np.asarray(seen["inputs"]) - damaged(CLEAN)
    assert 0.08 < noise.std() < 0.12


def test_inputs_are_scaled_but_not_binarised():
    """Under Bernoulli x is drawn afresh; what is seen of another picture is not."""
    recipe = recipes.vae((6,), 2, **OWN)
    grey = np.full((24, 6), 51, np.uint8)
    batch = {"x": jnp.asarray(grey), "inputs": jnp.asarray(grey)}
    seen = model_batch(recipe, batch, KEY)
    assert set(np.unique(seen["x"])) == {0.0, 1.0}
    np.testing.assert_allclose(seen["inputs"], 51 / 255, rtol=1e-6)


def shared_with_jax(shape):
    """Zeros that begin where JAX does not copy them by itself."""
    room = np.zeros(4 * np.prod(shape) + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + 4 * np.prod(shape)].view(np.float32).reshape(shape)


@pytest.mark.parametrize(
    "taken",
    [
        on_device,
        lambda x: place({"x": x}, make_mesh())["x"],
        lambda x: place_data(REAL, x, make_mesh(), "data")["x"],
        lambda x: place_batch({"x": x}, make_mesh())["x"],
        lambda x: place_batch(Share({"x": x}, 8), make_mesh())["x"],
    ],
    ids=["call", "tree", "data", "batch", "share"],
)
def test_what_was_handed_in_may_be_changed_afterwards(taken):
    """JAX shared it, at places in memory where NumPy rarely puts an array."""
    x = shared_with_jax((8, 6))
    ours = taken(x)
    x[:] = 7.0
    np.testing.assert_array_equal(ours, 0.0)


def test_a_loader_may_fill_one_array_again_and_again():
    recipe, batch = recipes.vae((6,), 2, **OWN), shared_with_jax((8, 6))

    class Loader:
        def __iter__(self):
            for start in range(0, 24, 8):
                batch[:] = CLEAN[start : start + 8]
                yield batch
                batch[:] = np.nan

    batches = [CLEAN[start : start + 8] for start in range(0, 24, 8)]
    again, whole = (
        jaxae.fit(recipe, data, epochs=2, **FIT) for data in (Loader(), batches)
    )
    chex.assert_trees_all_equal(again.model.variables, whole.model.variables)


@pytest.mark.parametrize("form", ["array", "stream"])
def test_another_shape(form):
    """Here of a model from 4 numbers to 2x3 pictures, as a super-resolution is."""
    recipe = recipes.vae((2, 3, 1), 2, input_shape=(4,), likelihood="gaussian", **OWN)
    x, inputs = CLEAN.reshape(-1, 2, 3, 1), CLEAN[:, :4]
    data = {"x": x, "inputs": inputs}
    source = data if form == "array" else [data]
    fitted = jaxae.fit(recipe, source, epochs=2, **FIT)
    model = fitted.model
    assert jaxae.encode(model, inputs).shape == (24, 2)
    assert jaxae.reconstruct(model, inputs).shape == x.shape
    assert posterior_means(model, data, KEY).shape == (24, 2)
    numbers = evaluate(model, data, KEY, nll_samples=5)
    assert np.isfinite(numbers["nll_nats"]) and numbers["psnr_damaged_db"] is None
    parts = jaxae.export(model, platforms=("cpu",))
    assert parts["encoder"].inputs["x"].shape[1:] == (4,)
    assert parts["model"].outputs.shape[1:] == (2, 3, 1)
    with pytest.raises(jaxae.ArgumentError, match=r"x must be of shape \[n, 4\]"):
        jaxae.encode(model, x)
    with pytest.raises(jaxae.ArgumentError, match=r"data must have 'inputs' .*\(4,\)"):
        jaxae.fit(recipe, x, epochs=1, **FIT)


def test_labels_come_as_pairs_from_loaders():
    recipe = recipes.autoencoder((6,), 2, **OWN)
    x, y = CLEAN[:8], np.arange(8)
    pairs = jaxae.fit(recipe, [(x, y), [x, y]], epochs=1, **FIT)
    alone = jaxae.fit(recipe, [(x, None), (x,)], epochs=1, **FIT)
    assert pairs.history[0]["loss"] == alone.history[0]["loss"]
    with pytest.raises(jaxae.ArgumentError, match="pair of x and label, got 3 values"):
        jaxae.fit(recipe, [(x, y, y)], epochs=1, **FIT)


def test_labels_of_a_function_are_none():
    recipe = recipes.autoencoder((6,), 2, **OWN)
    with pytest.raises(jaxae.ArgumentError, match=r"data\['label'\] must be an array"):
        jaxae.fit(recipe, {"x": CLEAN, "label": len}, epochs=1, **FIT)


@pytest.mark.parametrize(
    "label",
    [
        np.eye(24),
        np.linspace(0, 1, 24),
        np.full(24, "cat"),
        [[1], [2, 3]] * 12,
        np.ma.masked_less(np.arange(24), 5),
    ],
    ids=["one-hot", "numbers", "text", "ragged", "masked"],
)
def test_labels_that_nothing_needs_are_carried_along(label):
    recipe = recipes.autoencoder((6,), 2, **OWN)
    data = {"x": CLEAN, "label": label}
    with_labels = jaxae.fit(recipe, data, epochs=1, **FIT)
    without = jaxae.fit(recipe, CLEAN, epochs=1, **FIT)
    assert with_labels.history[0]["loss"] == without.history[0]["loss"]


def test_a_sparse_matrix_is_named_at_once():
    sparse = pytest.importorskip("scipy.sparse")
    recipe = recipes.autoencoder((6,), 2, **OWN)
    matrix = sparse.csr_array(CLEAN)
    with pytest.raises(jaxae.ArgumentError, match=r"data must be a dense array.*csr"):
        jaxae.fit(recipe, matrix, epochs=1, **FIT)


def test_a_data_loader_of_torch_is_an_iterable_of_pairs():
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(
        torch.from_numpy(CLEAN), torch.arange(len(CLEAN))
    )
    loader = torch.utils.data.DataLoader(pairs, batch_size=8)
    recipe = recipes.autoencoder((6,), 2, **OWN)
    fitted = jaxae.fit(recipe, loader, epochs=2, **FIT)
    same = jaxae.fit(recipe, list(CLEAN.reshape(3, 8, 6)), epochs=2, **FIT)
    assert int(fitted.state.step) == 6
    assert fitted.history[1]["loss"] == same.history[1]["loss"]


def test_shards_are_not_taken_for_batches(tmp_path):
    np.save(tmp_path / "part.npy", CLEAN)
    shards = [np.load(tmp_path / "part.npy", mmap_mode="r")] * 2
    recipe = recipes.autoencoder((6,), 2, **OWN)
    with pytest.raises(jaxae.ArgumentError, match="not be a list of memory maps"):
        jaxae.fit(recipe, shards, epochs=1, **FIT)


def test_own_inputs_may_be_where_x_may_not():
    """Which a model that was trained on x alone is warned of."""
    recipe = recipes.autoencoder((6,), 2, **OWN, likelihood="continuous_bernoulli")
    inputs = CLEAN + np.float32(0.8)
    model = jaxae.fit(recipe, {"x": CLEAN, "inputs": inputs}, epochs=1, **FIT).model
    with pytest.warns(UserWarning, match="x must be .* right only for a model"):
        assert jaxae.encode(model, inputs).shape == (24, 2)
    inputs[0, 0] = np.nan
    with pytest.raises(jaxae.ArgumentError, match="x must be finite"):
        jaxae.repair(model, inputs)


def test_gaps_in_inputs_of_another_shape():
    recipe = recipes.autoencoder((2,), 2, input_shape=(6,), **OWN)
    model = jaxae.fit(recipe, {"x": CLEAN[:, :2], "inputs": CLEAN}, epochs=1, **FIT)
    gaps = np.arange(6)[None] < np.full((24, 1), 3)
    found = jaxae.reconstruct(model.model, CLEAN, missing=gaps)
    codes = jaxae.encode(model.model, np.where(gaps, 0.0, CLEAN))
    np.testing.assert_array_equal(found, jaxae.decode(model.model, codes))
    with pytest.raises(jaxae.ArgumentError, match="missing must be left out: what is"):
        jaxae.repair(model.model, CLEAN, missing=gaps)
    holes = recipe.replace(
        corruption=corruptions.Masking(0.5),
        objective=objectives.Reconstruction(region="hole"),
    )
    with pytest.raises(jaxae.ArgumentError, match="region must be 'all' where inputs"):
        jaxae.fit(holes, {"x": CLEAN[:, :2], "inputs": CLEAN}, epochs=1, **FIT)


def test_a_transcoder_learns_a_function():
    """From inputs to another x = f(inputs), better than any linear map does."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(600, 4)).astype(np.float32)
    weights = rng.normal(size=(4, 3)).astype(np.float32)
    x = np.sin(inputs @ weights)
    recipe = recipes.autoencoder(
        (3,),
        16,
        input_shape=(4,),
        network=networks.FullyConnected((64,), activation="tanh"),
        likelihood="gaussian",
    )
    data = {"x": x[:500], "inputs": inputs[:500]}
    model = jaxae.fit(
        recipe,
        data,
        key=KEY,
        epochs=100,
        batch_size=100,
        tx=optax.adam(1e-2),
        progress=False,
    ).model
    error = np.square(jaxae.reconstruct(model, inputs[500:]) - x[500:]).mean()
    fit, *_ = np.linalg.lstsq(inputs[:500], x[:500])
    linear = np.square(inputs[500:] @ fit - x[500:]).mean()
    assert error < 0.1 * linear


def test_a_super_resolver_beats_interpolation():
    """Digits of 8 x 8 pixels from their means over 2 x 2 of them."""
    x = load_digits().images.astype(np.float32)[..., None] / 16
    small = x.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    recipe = recipes.autoencoder(
        (8, 8, 1),
        32,
        input_shape=(4, 4, 1),
        network=networks.FullyConnected((128,)),
        likelihood="gaussian",
    )
    data = {"x": x[:1500], "inputs": small[:1500]}
    model = jaxae.fit(
        recipe, data, key=KEY, epochs=30, tx=optax.adam(3e-3), progress=False
    ).model
    error = np.square(jaxae.reconstruct(model, small[1500:]) - x[1500:]).mean()
    smooth = np.stack([resize(each, (8, 8, 1), order=3) for each in small[1500:]])
    interpolated = np.square(smooth - x[1500:]).mean()
    assert error < 0.5 * interpolated
