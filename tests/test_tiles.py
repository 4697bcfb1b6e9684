"""Pictures of any size, repaired by a model of a smaller one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import networks, recipes
from jaxae.inference import repair, tiles
from jaxae.preparation import Standardize
from jaxae.recipe import Model
from jaxae.training import init_state, trained_model
from jaxae.views import Condition

KEY = jax.random.key(0)
TILE = (6, 8, 2)
LARGE = (2, 17, 21, 2)


def pictures(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def started(recipe):
    """The model before training: a U-Net gives back what it sees."""
    module = recipe.module
    batch = {"x": jnp.zeros((1, *module.shape), jnp.float32)}
    shown = {name: jnp.zeros((1, *f.shape)) for name, f in module.view.fields.items()}
    start = jax.jit(lambda key: init_state(recipe, optax.sgd(0.1), batch | shown, key))
    return trained_model(recipe, start(KEY))


def with_gain(model, gain, offset):
    """A U-Net that gives gain · x + offset."""
    picture = model.variables["params"]["picture"]
    own = {"kernel": gain * picture["kernel"], "bias": picture["bias"] + offset}
    params = {**model.variables["params"], "picture": own}
    return model.replace(variables={**model.variables, "params": params})


@pytest.fixture(scope="module")
def identity():
    return started(recipes.unet(TILE, channels=(2, 2)))


@pytest.mark.parametrize("overlap", [None, 0, 1, 5])
@pytest.mark.parametrize("shape", [LARGE, (1, 6, 8, 2), (1, 3, 30, 2), (3, 1, 2, 2)])
def test_what_changes_nothing_gives_the_picture_back(shape, overlap, monkeypatch):
    monkeypatch.setattr(tiles, "repair", unchanged)
    x = pictures(shape)
    made = jaxae.repair_in_tiles(Model(recipes.unet(TILE), {}), x, overlap=overlap)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, x, rtol=1e-6)  # sums of up to 36 float32


def unchanged(model, x, **_):
    assert x.shape[1:] == model.module.shape
    return x


def test_a_model_of_single_pixels_does_in_tiles_what_it_does(identity):
    model = with_gain(identity, 0.5, 0.25)
    x = pictures(LARGE)
    made = jaxae.repair_in_tiles(model, x)
    np.testing.assert_allclose(made, 0.5 * x + 0.25, rtol=1e-5)
    tile = x[:, :6, :8]
    np.testing.assert_array_equal(
        jaxae.repair_in_tiles(model, tile), repair(model, tile)
    )


@pytest.mark.parametrize("length", [8, 9, 15, 16, 40])
@pytest.mark.parametrize("overlap", [0, 2, 7])
def test_weights_sum_to_one_and_fall_towards_what_is_shared(length, overlap):
    cut = tiles._cut(length, 8, overlap)
    total = np.zeros(length)
    for tile, weight in cut:
        assert weight.shape == (8,) and weight.min() > 0
        total[tile] += weight
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    starts = [tile.start for tile, _ in cut]
    assert starts[0] == 0 and starts[-1] == length - 8
    assert len(starts) == 1 or np.diff(starts).max() <= 8 - overlap
    if len(starts) > 1 and overlap:
        (_, first), *_ = cut
        assert first[0] == 1.0 and (np.diff(first) <= 1e-6).all() and first[-1] < 0.3


def test_each_tile_is_repaired_where_it_lies(monkeypatch):
    """Tiles that say which they are, of which the blend is known by hand."""
    numbers = iter(range(10))
    monkeypatch.setattr(tiles, "repair", lambda _, x, **__: numbered(x, numbers))
    recipe = recipes.unet((4, 4, 1))
    made = jaxae.repair_in_tiles(Model(recipe, {}), pictures((1, 4, 6, 1)), overlap=2)
    share = np.sin(np.pi / 2 * np.array([0.25, 0.75])) ** 2
    expected = np.array([0, 0, *share, 1, 1])
    np.testing.assert_allclose(made[0, :, :, 0], np.tile(expected, (4, 1)), rtol=1e-6)


def numbered(x, numbers):
    return np.stack([np.full_like(tile, next(numbers)) for tile in x])


def test_blocks_of_tiles_are_those_of_one(identity, monkeypatch):
    model = with_gain(identity, 0.5, 0.25)
    x = pictures(LARGE)
    whole, counts = jaxae.repair_in_tiles(model, x), []

    def counting(model, x, **options):
        counts.append(len(x))
        return repair(model, x, **options)

    monkeypatch.setattr(tiles, "CHUNK", 7)
    monkeypatch.setattr(tiles, "repair", counting)
    np.testing.assert_allclose(jaxae.repair_in_tiles(model, x), whole, rtol=1e-6)
    assert len(counts) > 2 and len(set(counts[:-1])) == 1 and max(counts) <= 7


@pytest.mark.parametrize("form", ["mask", "one channel", "no channel", "nan", "masked"])
def test_only_what_is_missing_is_changed(form):
    model = with_gain(
        started(recipes.unet(TILE, channels=(2, 2), holes=True)), 0.5, 0.2
    )
    x, gone = pictures(LARGE), np.zeros(LARGE[:3], bool)
    gone[0, 3:9, 4:11] = gone[1, :2] = True
    hole = np.broadcast_to(gone[..., None], LARGE)
    holed = np.where(hole, np.float32(np.nan), x)
    x, missing = {
        "mask": (holed, hole),
        "one channel": (holed, hole[..., :1]),
        "no channel": (holed, gone),
        "nan": (holed, "nan"),
        "masked": (np.ma.MaskedArray(x, hole), None),
    }[form]
    made = np.asarray(jaxae.repair_in_tiles(model, x, missing=missing, fill=0.6))
    np.testing.assert_array_equal(made[~hole], np.asarray(x)[~hole])
    np.testing.assert_allclose(made[hole], 0.5 * 0.6 + 0.2, rtol=1e-5)


def test_bytes_are_levels_even_where_a_tile_is_dark(identity):
    x = np.zeros((1, 300, 50, 2), np.uint8)
    x[:, ::2] = 1
    x[:, -8:] = 255
    made = jaxae.repair_in_tiles(identity, x)
    np.testing.assert_allclose(made, x / np.float32(255), rtol=1e-6)
    scaled = identity.recipe.replace(prepare=Standardize(mean=0.5, std=0.25))
    made = jaxae.repair_in_tiles(identity.replace(recipe=scaled), x)
    np.testing.assert_allclose(made, x / np.float32(255), atol=1e-6)


def test_all_tiles_of_a_picture_are_shown_its_condition():
    recipe = recipes.autoencoder((4, 4, 1), 2, network=networks.FullyConnected((4,)))
    module = recipe.module.clone(view=Condition("age"))
    model = started(recipe.replace(module=module))
    x = np.repeat(pictures((1, 4, 4, 1)), 2, axis=0)
    tiled = np.tile(x, (1, 1, 3, 1))  # without overlap all tiles are the same
    age = np.array([0.0, 2.0], np.float32)
    expected = np.asarray(repair(model, x, age=age))
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    made = jaxae.repair_in_tiles(model, tiled, overlap=0, age=age)
    np.testing.assert_allclose(made, np.tile(expected, (1, 1, 3, 1)), rtol=1e-5)
    with pytest.raises(ValueError, match="age must be given: one for each of 2"):
        jaxae.repair_in_tiles(model, tiled)


def test_a_condition_that_is_a_picture_is_cut_as_the_picture_is():
    guide = Condition("guide", shape=(4, 4, 1), to=("encoder",))
    recipe = recipes.unet((4, 4, 1), channels=(2, 2), conditions=(guide,))
    model, seen = jaxae.init(recipe, KEY), []

    def shown(model, x, *, guide, **_):
        seen.append((x, guide))
        return x

    x = pictures((2, 7, 9, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "repair", shown)
        jaxae.repair_in_tiles(model, x, guide=2.0 * x)
    for tile, own in seen:
        np.testing.assert_array_equal(own, 2.0 * tile)
    made = jaxae.repair_in_tiles(model, x[:, :4, :4], guide=x[:, :4, :4])
    np.testing.assert_array_equal(made, repair(model, x[:, :4, :4], guide=x[:, :4, :4]))
    with pytest.raises(
        ValueError, match=r"guide must be numbers of shape \[2, 7, 9, 1"
    ):
        jaxae.repair_in_tiles(model, x, guide=x[:, :4, :4])
    with pytest.raises(ValueError, match="guide must be given"):
        jaxae.repair_in_tiles(model, x)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (pictures((9, 9, 2)), {}, r"x must be of shape \[n, h, w, 2\]"),
        (pictures((1, 9, 9, 1)), {}, r"x must be of shape \[n, h, w, 2\]"),
        (pictures((0, 9, 9, 2)), {}, "x must be at least one example"),
        (np.full((1, 9, 9, 2), np.nan), {}, "x must be finite"),
        (pictures(LARGE), {"overlap": 6}, "overlap must be below 6"),
        (pictures(LARGE), {"overlap": -1}, "overlap must be a whole number"),
        (pictures(LARGE), {"missing": np.zeros((2, 3, 3, 1), bool)}, "missing must be"),
        (pictures(LARGE), {"label": [1, 2]}, "label must be left out"),
    ],
)
def test_bad_arguments_are_named(x, options, message):
    with pytest.raises(ValueError, match=message):
        jaxae.repair_in_tiles(Model(recipes.unet(TILE), {}), x, **options)


def test_models_of_anything_else_are_refused():
    vectors = Model(recipes.autoencoder((6,), 2), {})
    with pytest.raises(ValueError, match="model must be one from pictures"):
        jaxae.repair_in_tiles(vectors, pictures((1, 6)))
    grows = recipes.autoencoder((4, 4, 1), 2, input_shape=(2, 2, 1))
    with pytest.raises(ValueError, match=r"got \(2, 2, 1\) to \(4, 4, 1\)"):
        jaxae.repair_in_tiles(Model(grows, {}), pictures((1, 6, 6, 1)))
    with pytest.raises(ValueError, match=r"outside of jax\.jit"):
        jax.jit(lambda x: jaxae.repair_in_tiles(vectors, x))(pictures((1, 6, 6, 1)))
