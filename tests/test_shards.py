"""Several files or arrays as one data set."""

from itertools import chain, islice, pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from safetensors.numpy import save_file

import jaxae
from jaxae import networks, recipes
from jaxae.inputs import check_data
from jaxae.preparation import Standardize
from jaxae.training.loop import Best
from jaxae.training.scale import fit_scale

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SIZES = (5, 7, 3)
X = RNG.normal(size=(sum(SIZES), 4)).astype(np.float32)
WEIGHT = np.arange(1.0, len(X) + 1).astype(np.float32)
STARTS = np.cumsum((0, *SIZES))
PARTS = [slice(a, b) for a, b in pairwise(STARTS)]
RECIPE = recipes.autoencoder((4,), 2, network=networks.FullyConnected((5,)))


def sources(folder):
    """The same examples as an array, a memory map, and a file with names."""
    np.save(folder / "second.npy", X[PARTS[1]])
    named = {"x": X[PARTS[2]].copy()}
    save_file(named, folder / "third.safetensors")
    return [
        X[PARTS[0]],
        str(folder / "second.npy"),
        folder / "third.safetensors",
    ]


def rows_of(batches):
    return [
        [int(np.flatnonzero((X == x).all(axis=1))[0]) for x in batch["x"]]
        for batch in batches
    ]


def test_a_pass_has_every_example_of_all_shards_once(tmp_path):
    data = jaxae.Shards(sources(tmp_path), batch_size=4, seed=3)
    assert (len(data), data.steps_per_epoch) == (15, 4)
    batches = rows_of(islice(data(), 8))
    assert [len(batch) for batch in batches] == [4, 4, 4, 3] * 2
    first, second = (list(chain(*batches[i : i + 4])) for i in (0, 4))
    assert sorted(first) == sorted(second) == list(range(15))
    assert first != second
    # They are shuffled across: no batch is of one shard alone.
    shards = [{int(np.searchsorted(STARTS, i, "right")) for i in b} for b in batches]
    assert all(len(each) > 1 for each in shards)
    assert rows_of(islice(data(5), 3)) == batches[5:]


def test_all_fields_stay_together():
    parts = [{"x": X[part], "weight": WEIGHT[part]} for part in PARTS]
    for batch in islice(jaxae.Shards(parts, batch_size=4)(), 4):
        (rows,) = rows_of([batch])
        np.testing.assert_array_equal(batch["weight"], WEIGHT[rows])


def test_training_is_that_on_one_array_and_is_resumed(tmp_path):
    options = {"key": KEY, "epochs": 3, "progress": False}
    seen = []

    def keep(epoch):
        seen.append(jax.tree.map(jnp.copy, epoch.state))

    data = jaxae.Shards(sources(tmp_path), batch_size=4)
    recipe = RECIPE.replace(prepare=Standardize(0.0, 2.0))
    fitted = jaxae.fit(recipe, data, callbacks=[keep], **options)
    assert int(fitted.state.step) == 12
    one = jaxae.fit(recipe, jaxae.Shards([X], batch_size=4), **options)
    jax.tree.map(np.testing.assert_array_equal, fitted.state.params, one.state.params)
    start = jaxae.Progress(seen[0], Best(fitted.model), epoch=1)
    again = jaxae.fit(recipe, data, resume=start, **options)
    jax.tree.map(np.testing.assert_array_equal, fitted.state.params, again.state.params)


GAPS = RNG.random(X.shape) < 0.3
HOLED = np.where(GAPS, np.float32(np.nan), X)


@pytest.mark.parametrize("form", ["masked", "nan", "mask"])
def test_what_is_missing_of_a_shard_stays_so(form, tmp_path):
    np.save(tmp_path / "x.npy", HOLED[PARTS[0]])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    parts = {
        "masked": [np.ma.MaskedArray(X[part], GAPS[part]) for part in PARTS],
        "nan": [{"x": mapped, "missing": "nan"}]
        + [{"x": HOLED[part], "missing": "nan"} for part in PARTS[1:]],
        "mask": [{"x": HOLED[part], "missing": GAPS[part]} for part in PARTS],
    }[form]
    known = {"x": np.where(GAPS, np.float32(7.0), X), "missing": GAPS}
    expected = list(islice(jaxae.Shards([known], batch_size=4)(), 4))
    for batch, whole in zip(
        jaxae.Shards(parts, batch_size=4)(), expected, strict=False
    ):
        np.testing.assert_array_equal(batch["missing"], whole["missing"])
        own, same = check_data(RECIPE, batch, ""), check_data(RECIPE, whole, "")
        np.testing.assert_array_equal(own["x"], same["x"])


def test_shards_that_say_nothing_of_gaps_are_known_whole(tmp_path):
    file = tmp_path / "third.safetensors"
    save_file({"x": X[PARTS[2]].copy(), "missing": GAPS[PARTS[2]].copy()}, file)
    masked = np.ma.MaskedArray(X[PARTS[1]], GAPS[PARTS[1]])
    data = jaxae.Shards([X[PARTS[0]], masked, file])
    expected = np.where(np.arange(len(X))[:, None] < SIZES[0], False, GAPS)
    np.testing.assert_array_equal(data.rows["missing"][:], expected)
    np.testing.assert_array_equal(data.rows["x"][:], X)


def test_a_scale_is_estimated_from_all_shards():
    weight = WEIGHT / WEIGHT.sum()
    parts = [
        {"x": HOLED[part], "missing": "nan", "weight": weight[part]} for part in PARTS
    ]
    recipe = RECIPE.replace(prepare=Standardize())
    scaled, data = fit_scale(recipe, jaxae.Shards(parts, batch_size=4))
    expected = Standardize().of(HOLED, weight)
    np.testing.assert_allclose(scaled.prepare.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(scaled.prepare.std, expected.std, rtol=1e-6)
    # Of a slice of it, which no batch is.
    assert len(data) == 15 and data.rows["x"][3:9].shape == (6, 4)


def test_a_model_takes_them_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxae.inference.encoding.BLOCK", 4)
    data, options = jaxae.Shards(sources(tmp_path)), {"key": KEY, "progress": False}
    fits = [jaxae.fit(RECIPE, X, validation=v, epochs=1, **options) for v in (data, X)]
    assert (
        fits[0].history[0]["validation_loss"] == fits[1].history[0]["validation_loss"]
    )
    model = fits[0].model
    for function in (jaxae.encode, jaxae.reconstruct):
        np.testing.assert_allclose(function(model, data), function(model, X), rtol=1e-5)
    found, expected = (jaxae.evaluation.evaluate(model, d, KEY) for d in (data, X))
    assert found == expected


def test_a_model_is_shown_what_shards_say_themselves():
    shown = jaxae.views.Condition("age")
    options = {"network": networks.FullyConnected((5,)), "likelihood": "gaussian"}
    recipe = recipes.conditional_vae(
        (4,), 2, num_labels=0, conditions=(shown,), **options
    )
    model = jaxae.init(recipe, KEY)
    fields = {"x": HOLED, "missing": GAPS, "age": WEIGHT}
    parts = [{k: v[part] for k, v in fields.items()} for part in PARTS]
    data = jaxae.Shards(parts)
    for function in (jaxae.encode, jaxae.reconstruct):
        expected = function(model, HOLED, missing=GAPS, age=WEIGHT)
        np.testing.assert_allclose(function(model, data), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="missing must be left out: the shards say"):
        jaxae.encode(model, data, missing=GAPS)
    with pytest.raises(ValueError, match=r"x must be an array.*got Shards"):
        jaxae.repair(model, data)


def test_a_type_that_a_file_does_not_keep_is_named(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(jnp.bfloat16))
    with pytest.raises(ValueError, match=r"sources\[0\]\['x'\] is of \|V2.*bfloat16"):
        jaxae.Shards([tmp_path / "x.npy"])
    assert jaxae.Shards([X.astype(jnp.bfloat16)]).rows["x"].dtype == jnp.bfloat16


class Counted(np.ndarray):
    """Notes how many rows are read."""

    read = 0

    def __getitem__(self, rows):
        if isinstance(rows, np.ndarray):
            Counted.read += len(rows)
        return np.asarray(self)[rows]


def test_only_the_batches_that_come_next_are_read():
    x = np.zeros((100_000, 1), np.float32).view(Counted)
    stream = jaxae.Shards([x, x], batch_size=10)()
    next(stream)
    stream.close()
    assert 10 <= Counted.read <= 200


BAD = {
    "none": ([], "sources must be a list of at least one"),
    "a path alone": ("x.npy", "sources must be a list of at least one"),
    "another shape": ([X, X[:, :3]], r"sources\[1\]\['x'\] must be float32 of shape"),
    "another dtype": ([X, X.astype(np.float64)], r"must be float32 .* got 'float64"),
    "other fields": (
        [{"x": X, "weight": WEIGHT}, X],
        r"sources\[1\] must have \['weight', 'x'\], got \['x'\]",
    ),
    "no x": ([{"images": X}], r"sources\[0\] must have an 'x', got \['images'\]"),
    "other lengths": ([{"x": X, "weight": WEIGHT[:3]}], "arrays of one length"),
    "no rows": ([X[:0]], "above 0"),
    "npz": (["x.npz"], r"must be a \.npy or \.safetensors file, or arrays"),
    "another word": (
        [{"x": X, "missing": "NaN"}],
        r"sources\[0\]\['missing'\] must be an array, or 'nan', got 'NaN'",
    ),
    "a mask and its words": (
        [{"x": np.ma.MaskedArray(X, GAPS), "missing": GAPS}],
        r"sources\[0\] is a masked array, .* give no 'missing' beside it",
    ),
    "a masked weight": (
        [{"x": X, "weight": np.ma.MaskedArray(WEIGHT, WEIGHT > 3)}],
        r"sources\[0\]\['weight'\] must be known whole, got a masked array",
    ),
    "objects": ([X.astype(object)], r"sources\[0\]\['x'\] must be numbers, got 'obj"),
    "no file": (["nowhere.npy"], r"sources\[0\]: nowhere\.npy is not readable"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_data_set_is_said(case):
    given, message = BAD[case]
    with pytest.raises(jaxae.ArgumentError, match=message):
        jaxae.Shards(given)


def test_wrong_seeds_and_wrong_places_are_said(tmp_path):
    with pytest.raises((jaxae.ArgumentError, TypeCheckError), match="seed"):
        jaxae.Shards([X], seed=0.5)
    with pytest.raises((jaxae.ArgumentError, TypeCheckError), match="sources"):
        jaxae.Shards(X)
    np.save(tmp_path / "x.npy", X)
    maps = [np.load(tmp_path / "x.npy", mmap_mode="r")]
    with pytest.raises(jaxae.ArgumentError, match=r"give jaxae\.Shards\(data\)"):
        jaxae.fit(RECIPE, maps, key=KEY, epochs=1, progress=False)


def test_a_file_without_examples_is_said(tmp_path):
    for name, own in {"none": {}, "no_rows": {"x": X[:0]}}.items():
        save_file(own, tmp_path / f"{name}.safetensors")
        with pytest.raises(jaxae.ArgumentError, match=r"must have (an 'x'|arrays of)"):
            jaxae.Shards([tmp_path / f"{name}.safetensors"])


@pytest.mark.parametrize("name", ["x.npy", "x.safetensors"])
def test_a_damaged_file_is_said(tmp_path, name):
    path = tmp_path / name
    np.save(path, X) if name.endswith("npy") else save_file({"x": X}, path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(jaxae.ArgumentError, match="is not readable"):
        jaxae.Shards([path])
