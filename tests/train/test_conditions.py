"""Programs with conditions of the data's own, and with data that are scaled."""

import json
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest

import jaxae
from jaxae.errors import ArgumentError
from jaxae.inputs import abstract_fields
from jaxae.preparation import Standardize
from jaxae.saving.programs import Part
from jaxae.views import PARTS, Chain, Condition
from train import apply, evaluate, export
from train.__main__ import parse
from train.data import load
from train.errors import DataError, RunError
from train.run import open_run
from train.training import train
from train.words import CONDITION

COUNT = 40
RNG = np.random.default_rng(0)
ARRAYS = {
    "x": RNG.random((COUNT, 6)).astype(np.float32),
    "label": np.arange(COUNT) % 3,
    "age": RNG.random(COUNT),
    "place": np.arange(COUNT) % 5,
}
SMALL = "--epochs 1 --batch-size 16 --nll-samples 2 --parallel none".split()
MLP = ["--model.latent-dim", "3", "--model.network", "mlp:5"]
GAUSSIAN = ["--model.likelihood", "gaussian"]
SHOWN = ["--model.num-labels", "3", "--model.conditions", "age"]
SHOWN += ["place:5:embedding=2:to=encoder,prior", "--model.conditional-prior"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def start(out, preset, data, *options):
    words = [preset, "--data", str(data), "--out", str(out), *SMALL, *MLP, *options]
    name, config = parse(words)
    return train(out, name, config)


def test_conditions_in_words():
    text = "place:5:embedding=2:to=encoder,prior"
    part = CONDITION.read(text, "--model.conditions", 1)
    assert part == Condition("place", 5, embedding=2, to=("encoder", "prior"))
    assert CONDITION.write(part) == "place:categories=5:to=encoder,prior:embedding=2"
    hint = CONDITION.read("hint:shape=8,8,1", "--model.conditions", 1)
    assert hint == Condition("hint", shape=(8, 8, 1))
    with pytest.raises(ArgumentError, match=r"to=encodr.*encoder"):
        CONDITION.read("age:to=encodr", "--model.conditions to=encodr", 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    np.savez(folder / "table.npz", **ARRAYS, unread=np.zeros(3))
    options = [*SHOWN, *GAUSSIAN]
    return start(folder / "run", "conditional-vae", folder / "table.npz", *options)


def test_a_run_with_conditions(run):
    assert open_run(run.path).recipe() == run.recipe()
    model = jaxae.load(run.path)
    label = Condition("label", 3, flatten=True, to=PARTS)
    place = Condition("place", 5, embedding=2, to=("encoder", "prior"), flatten=True)
    assert model.module.view == Chain((label, Condition("age", flatten=True), place))
    result = json.loads((run.path / "result.json").read_text())
    assert np.isfinite(result["nll_nats"])
    test = load(run.config.data, conditions=("age", "place")).test
    rows = [int(np.flatnonzero((ARRAYS["x"] == x).all(1))[0]) for x in test.images]
    for name, values in test.conditions.items():
        np.testing.assert_array_equal(values, ARRAYS[name][rows])


def test_it_is_evaluated_and_used(run, tmp_path):
    other = {**ARRAYS, "age": ARRAYS["age"][::-1]}
    np.savez(tmp_path / "other.npz", **other)
    arguments = evaluate.Arguments(run.path, data=str(tmp_path / "other.npz"))
    evaluate.evaluate(arguments)
    (folder,) = run.path.glob("on-other-*")
    numbers = [
        json.loads((each / "result.json").read_text())["nll_nats"]
        for each in (run.path, folder)
    ]
    assert numbers[0] != numbers[1]
    np.save(tmp_path / "x.npy", ARRAYS["x"])
    beside = {name: ARRAYS[name] for name in ("label", "age", "place")}
    np.savez(tmp_path / "beside.npz", **beside)
    out = tmp_path / "codes.npy"
    apply.apply(
        apply.Arguments(
            run.path,
            tmp_path / "x.npy",
            task="encode",
            out=out,
            conditions=tmp_path / "beside.npz",
        )
    )
    expected = jaxae.encode(jaxae.load(run.path), ARRAYS["x"], **beside)
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-6)


def use(run, folder, task="encode", **options) -> np.ndarray:
    """What `train.apply` makes of the vectors that the run was trained on."""
    np.save(folder / "x.npy", ARRAYS["x"])
    out = folder / "out.npy"
    out.unlink(missing_ok=True)
    source = None if task == "sample" else folder / "x.npy"
    apply.apply(apply.Arguments(run.path, source, task=task, out=out, **options))
    return np.load(out)


def test_what_the_model_is_shown_is_found_among_other_arrays(run, tmp_path):
    """In the file that it was trained on, in one with parts, and with other labels."""
    file = Path(run.config.data)
    expected = use(run, tmp_path, conditions=file)
    halves = {"train": slice(25), "test": slice(25, None)}
    named = {"x": "x", "label": "labels", "age": "age", "place": "place"}
    parts = {
        f"{new}_{part}": ARRAYS[old][rows]
        for old, new in named.items()
        for part, rows in halves.items()
    }
    np.savez(tmp_path / "parts.npz", **parts)
    found = use(run, tmp_path, conditions=tmp_path / "parts.npz")
    np.testing.assert_array_equal(found, expected)
    column = {"y": ARRAYS["label"][:, None]}  # as Keras stores labels
    some = {name: ARRAYS[name] for name in ("age", "place")}
    np.savez(tmp_path / "column.npz", **some, **column)
    found = use(run, tmp_path, conditions=tmp_path / "column.npz")
    np.testing.assert_array_equal(found, expected)
    model = jaxae.load(run.path)
    ones = use(run, tmp_path, conditions=file, label=1)
    beside = {**some, "label": np.ones(COUNT, int)}
    expected = jaxae.encode(model, ARRAYS["x"], **beside)
    np.testing.assert_allclose(ones, expected, rtol=1e-6)
    drawn = use(run, tmp_path, "sample", conditions=file, label=1, count=COUNT)
    expected = jaxae.sample(model, jax.random.key(0), COUNT, **beside)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


ALL = {name: ARRAYS[name] for name in ("label", "age", "place")}
SHOWN_ALL = "the model is shown label, age, place"


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (
            None,
            {},
            "--label must be given and --conditions FILE.npz must have age, place: "
            + SHOWN_ALL,
        ),
        (
            None,
            {"label": 1},
            f"--conditions FILE.npz must have age, place: {SHOWN_ALL}",
        ),
        ({"age": ARRAYS["age"]}, {"label": 1}, "a.npz must have place: "),
        (
            {**ALL, "age": ARRAYS["age"][1:]},
            {},
            "a.npz: age must be of shape [40, ...], a row for each of the images in "
            "INPUT, got (39,)",
        ),
        (ALL, {"task": "sample", "count": 7}, "a row for each of --count, got (40,)"),
        ({**ALL, "place": ARRAYS["place"] + 1}, {}, "a.npz: place must be from 0 to 4"),
        ({**ALL, "label": ALL["label"] / 2}, {}, "a.npz: label must be whole numbers"),
        (ALL, {"label": 3}, "--label must be from 0 to 2"),
        (ALL, {"task": "sample", "count": 0}, "--count must be a whole number"),
    ],
)
def test_conditions_that_cannot_be_used(run, tmp_path, arrays, options, message):
    if arrays is not None:
        np.savez(tmp_path / "a.npz", **arrays)
        options = {**options, "conditions": tmp_path / "a.npz"}
    with pytest.raises(ArgumentError) as raised:
        use(run, tmp_path, **options)
    assert message in str(raised.value)


def test_files_that_hold_no_conditions(run, tmp_path):
    np.save(tmp_path / "age.npy", ARRAYS["age"])
    message = r"--conditions must be a \.npz file of named arrays, got '.*age\.npy'"
    with pytest.raises(ArgumentError, match=message):
        use(run, tmp_path, conditions=tmp_path / "age.npy")
    (tmp_path / "age.npy").rename(tmp_path / "age.npz")
    with pytest.raises(DataError, match=r"age\.npz: not a readable file of arrays"):
        use(run, tmp_path, conditions=tmp_path / "age.npz")
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        use(run, tmp_path, conditions=tmp_path / "none.npz")


def test_it_is_exported(run, tmp_path):
    export.export(export.Arguments(run.path, tmp_path / "out", ("cpu",)))
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    inputs = {
        name: {each["name"]: each for each in part["inputs"]}
        for name, part in about["parts"].items()
    }
    assert inputs["encoder"].keys() == {"x", "label", "age", "place"}
    assert inputs["decoder"].keys() == {"codes", "label", "age"}
    meanings = {k: each["meaning"] for k, each in inputs["model"].items()}
    assert meanings == {
        "x": "vectors in the units of the data, as they are stored",
        "label": "the labels of the vectors, whole numbers below 3",
        "age": "'age' of the data, real numbers",
        "place": "'place' of the data, whole numbers below 5",
    }
    whole = jax.export.deserialize((tmp_path / "out" / "model.jax").read_bytes())
    forms = {k: each["dtype"] for k, each in inputs["model"].items()}
    given = {name: ARRAYS[name].astype(form) for name, form in forms.items()}
    made = whole.call(given.pop("x"), **given)
    expected = jaxae.reconstruct(jaxae.load(run.path), ARRAYS["x"], **given)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "x"),
    [
        ((6,), "vectors in the units of the data, as they are stored"),
        (
            (4, 4, 1),
            "images in the units of the data, as they are stored; bytes divided by "
            "255, so in [0, 1]",
        ),
    ],
)
def test_what_an_exported_part_takes_in_words(shape, x):
    view = (Condition("label"), Condition("place", 5))
    recipe = jaxae.recipes.vamp_vae(shape, 2, conditions=view)
    form = jax.ShapeDtypeStruct((2, *shape), np.float32)
    part = Part(b"", {"x": form, **abstract_fields(recipe.module, 2)}, form)
    about = export.describe("model", part, jaxae.Model(recipe, {}))
    kind = x.partition(" ")[0]
    assert {each["name"]: each["meaning"] for each in about["inputs"]} == {
        "x": x,
        "label": f"the labels of the {kind}, real numbers",
        "place": "'place' of the data, whole numbers below 5",
    }
    assert about["output"]["meaning"].startswith(f"the reconstructed {kind}, in the u")


def test_an_export_that_fails_writes_nothing(run, tmp_path, monkeypatch):
    form = jax.ShapeDtypeStruct((2,), np.float32)
    part = Part(b"", {"unheard of": form}, form)
    monkeypatch.setattr(
        "jaxae.saving.programs.export", lambda *_, **__: {"encoder": part}
    )
    with pytest.raises(KeyError):
        export.export(export.Arguments(run.path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_conditions_that_are_not_there(tmp_path):
    np.savez(tmp_path / "table.npz", x=ARRAYS["x"], label=ARRAYS["label"])
    with pytest.raises(ArgumentError, match="must have 'age'"):
        start(tmp_path / "a", "conditional-vae", tmp_path / "table.npz", *SHOWN)
    with pytest.raises(DataError, match=r"of arrays in --data FILE\.npz, got mnist"):
        start(tmp_path / "b", "conditional-vae", "mnist", *SHOWN)


def test_a_run_with_a_scale(tmp_path):
    x = 50.0 + 400.0 * ARRAYS["x"] * np.arange(1, 7, dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    options = [*GAUSSIAN, "--scale", "standardize"]
    run = start(tmp_path / "run", "vae", tmp_path / "x.npy", *options)
    train_part = load(run.config.data).train.images
    scale = open_run(run.path).scale
    assert isinstance(scale, Standardize)
    np.testing.assert_allclose(scale.mean, train_part.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale.std, train_part.std(axis=0), rtol=1e-5)
    model = jaxae.load(run.path)
    assert model.recipe.prepare == scale
    made = np.asarray(jaxae.sample(model, jax.random.key(0), 5))
    assert made.min() > 50.0
    evaluate.evaluate(evaluate.Arguments(run.path))
    again = start(tmp_path / "run", "vae", tmp_path / "x.npy", *options, "--resume")
    assert again.recipe() == run.recipe()
    other = [*options[:-1], "min_max", "--resume"]
    with pytest.raises(RunError, match="another --scale"):
        start(tmp_path / "run", "vae", tmp_path / "x.npy", *other)


def test_a_scale_that_is_none(tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["x"])
    with pytest.raises(ArgumentError, match=r"--scale.*standardise.*standardize"):
        start(tmp_path / "a", "vae", tmp_path / "x.npy", "--scale", "standardise")
