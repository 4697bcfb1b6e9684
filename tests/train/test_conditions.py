"""Programs with conditions of the data's own, and with data that are scaled."""

import json

import jax
import numpy as np
import pytest

import jaxae
from jaxae.errors import ArgumentError
from jaxae.preparation import Standardize
from jaxae.views import PARTS, Chain, Condition
from train import apply, evaluate
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
