"""`train.apply`: files that say more than x; scores, imputations, grey and colours."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from PIL import Image

import jaxae
from jaxae.errors import ArgumentError
from jaxae.views import Condition
from train import apply
from train.data.images import with_channels

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


# --- what a file says beside its images ---------------------------------------------


@pytest.mark.parametrize("task", ["encode", "reconstruct", "repair"])
@pytest.mark.parametrize("said", ["by the file", "nan", "inputs"])
def test_what_is_missing_or_seen_instead_is_applied(task, said, tmp_path, monkeypatch):
    recipe = jaxae.recipes.vae((4,), 2, likelihood="gaussian")
    model = jaxae.init(recipe, KEY)
    monkeypatch.setattr("train.run.open_run", lambda path: path)
    monkeypatch.setattr("train.run.restore_model", lambda run: (model, 1))
    x = RNG.standard_normal((5, 4)).astype(np.float32)
    gaps = RNG.random((5, 4)) < 0.4
    holes = np.where(gaps, np.nan, x).astype(np.float32)
    function = getattr(jaxae, task)
    fields = {"x": x, "missing": gaps}
    if said == "inputs":
        fields = {"x": x, "inputs": -x}
    np.savez(tmp_path / "x.npz", **fields)
    np.save(tmp_path / "x.npy", holes)
    expected = (
        function(model, -x) if said == "inputs" else function(model, x, missing=gaps)
    )
    options = {"missing": "nan"} if said == "nan" else {}
    source = tmp_path / ("x.npy" if said == "nan" else "x.npz")
    out = tmp_path / "out.npy"
    apply.apply(apply.Arguments(tmp_path, source, task=task, out=out, **options))
    np.testing.assert_array_equal(np.load(out), expected)
    assert np.abs(np.load(out) - np.asarray(function(model, x))).max() > 0.01


# --- scores and imputations ----------------------------------------------------------


@pytest.fixture
def use(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[np.ndarray, str]]:
    """What `python -m train.apply` writes of a model and a file, and what it prints."""
    monkeypatch.setattr("train.program.set_up", lambda: None)
    monkeypatch.setattr("train.run.open_run", lambda path: path)

    def run(model: jaxae.Model, source: str, *options: str) -> tuple[np.ndarray, str]:
        monkeypatch.setattr("train.run.restore_model", lambda run: (model, 1))
        out = tmp_path / "out.npy"
        out.unlink(missing_ok=True)
        words = ["x", "run", source, "--out", str(out), *options]
        monkeypatch.setattr("sys.argv", words)
        apply.main()
        return np.load(out), capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """Five of four numbers, and what is missing of them."""
    return RNG.standard_normal((5, 4)).astype(np.float32), RNG.random((5, 4)) < 0.4


SAMPLES = {"num_samples": 7}
DRAWN = ["--num-samples", "7", "--seed", "3"]
SMALLEST = {"network": jaxae.networks.FullyConnected((3,)), "likelihood": "gaussian"}


def gaussian_vae() -> jaxae.Model:
    return jaxae.init(jaxae.recipes.vae((4,), 2, **SMALLEST), KEY)


@pytest.mark.parametrize("said", ["known", "by the file", "nan", "inputs"])
def test_every_example_has_a_score_in_nats(said, vectors, use, save):
    (x, gaps), model = vectors, gaussian_vae()
    data = {"x": x, "missing": gaps}
    source = save("x.npz", **data)
    if said in ("known", "inputs"):
        data = {"x": x, "inputs": -x} if said == "inputs" else {"x": x}
        source = save("x.npz", **data)
    options = []
    if said == "nan":
        source, options = save("x.npy", np.where(gaps, np.nan, x)), ["--missing", "nan"]
    scores, printed = use(model, source, "--task", "score", *DRAWN, *options)
    key = jax.random.key(3)
    expected = jaxae.evaluation.nll_nats(model, data, key, **SAMPLES)
    np.testing.assert_array_equal(scores, expected)
    assert scores.shape == (5,)
    assert printed.startswith("score, -log p(x) in nats by 7 samples: 5 -> ")


def test_a_score_without_a_density_is_the_squared_error(vectors, use, save):
    x, gaps = vectors
    model = jaxae.init(jaxae.recipes.autoencoder((4,), 2, **SMALLEST), KEY)
    source = save("x.npz", x=x, missing=gaps)
    scores, printed = use(model, source, "--task", "score")
    made = np.asarray(jaxae.reconstruct(model, x, missing=gaps))
    error = np.square(made - x).sum(axis=1, where=~gaps)
    expected = error / np.where(gaps.all(axis=1), np.nan, (~gaps).sum(axis=1))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert printed.startswith("score, the mean squared error of a value as seen: 5 -> ")


@pytest.mark.parametrize("said", ["by the file", "nan", "mask", "inputs"])
def test_what_is_missing_is_imputed(said, vectors, use, save):
    (x, gaps), model, options = vectors, gaussian_vae(), []
    fields = {"inputs": -x} if said == "inputs" else {}
    source = save("x.npz", x=x, missing=gaps, **fields)
    if said == "nan":
        source, options = save("x.npy", np.where(gaps, np.nan, x)), ["--missing", "nan"]
    if said == "mask":
        source, options = save("x.npy", x), ["--mask", save("mask.npy", gaps)]
    filled, printed = use(model, source, "--task", "impute", *DRAWN, *options)
    key = jax.random.key(3)
    expected = jaxae.impute(model, x, missing=gaps, key=key, **SAMPLES, **fields)
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(filled[~gaps], x[~gaps])
    assert printed.startswith("impute: 5 -> ")


@pytest.mark.parametrize("task", ["score", "impute"])
def test_they_are_shown_conditions(task, vectors, use, save):
    x, gaps = vectors
    recipe = jaxae.recipes.conditional_vae(
        (4,), 2, num_labels=3, conditions=(Condition("age"),), **SMALLEST
    )
    model, key = jaxae.init(recipe, KEY), jax.random.key(3)
    beside = {"age": RNG.random(5).astype(np.float32), "label": np.ones(5, np.int32)}
    data = {"x": x, "missing": gaps}
    source, shown = save("x.npz", **data), save("shown.npz", age=beside["age"])
    options = ["--task", task, *DRAWN, "--label", "1", "--conditions", shown]
    made, _ = use(model, source, *options)
    if task == "score":
        nll = jaxae.evaluation.nll_nats
        expected = nll(model, {**data, **beside}, key, **SAMPLES)
    else:
        expected = jaxae.impute(model, **data, **beside, key=key, **SAMPLES)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "score", "--num-samples", "0"], "--num-samples must be a whole"),
        (["--task", "score", "--mask", "x.npy"], "--mask is of no use to score, only"),
        (["--task", "impute"], "--missing or --mask must be given: INPUT does not say"),
    ],
)
def test_scores_and_imputations_that_cannot_be(
    options, message, vectors, use, save, capsys
):
    with pytest.raises(SystemExit):
        use(gaussian_vae(), save("x.npy", vectors[0]), *options)
    assert message in capsys.readouterr().err


def test_a_model_without_a_density_repairs(vectors, use, save, capsys):
    model = jaxae.init(jaxae.recipes.autoencoder((4,), 2, **SMALLEST), KEY)
    with pytest.raises(SystemExit):
        use(model, save("x.npz", x=vectors[0], missing=vectors[1]), "--task", "impute")
    assert "--task must be repair, not impute" in capsys.readouterr().err


def test_scores_are_no_pictures(tmp_path):
    arguments = apply.Arguments(tmp_path, tmp_path, "score", tmp_path / "pictures")
    with pytest.raises(ArgumentError, match=r"--out must be a \.npy file for scores"):
        apply.apply(arguments)


# --- grey and colours ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_pictures_are_read_as_the_model_knows_them(kind, tmp_path, monkeypatch):
    x = RNG.integers(0, 256, (3, 6, 6, 3), np.uint8)
    pictures = [Image.fromarray(image) for image in x]
    other = [picture.convert("L") for picture in pictures]
    given, shape = (pictures, (6, 6, 1)) if kind == "grey" else (other, (6, 6, 3))
    (tmp_path / "in").mkdir()
    for i, picture in enumerate(given):
        picture.save(tmp_path / "in" / f"{i}.png")
    grey = np.stack([np.asarray(picture) for picture in other])[..., None]
    expected = grey if kind == "grey" else grey.repeat(3, axis=-1)
    options = {"network": jaxae.networks.FullyConnected((4,))}
    recipe = jaxae.recipes.autoencoder(shape, 2, **options)
    fit = {"key": KEY, "epochs": 1, "progress": False}
    model = jaxae.fit(recipe, expected, **fit).model
    monkeypatch.setattr("train.run.open_run", lambda path: path)
    monkeypatch.setattr("train.run.restore_model", lambda run: (model, 1))
    made = np.asarray(jaxae.reconstruct(model, expected))
    arguments = apply.Arguments(tmp_path, tmp_path / "in", out=tmp_path / "out.npy")
    apply.apply(arguments)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), made)


def test_luminance_of_floats():
    x = RNG.random((2, 3, 3, 3)).astype(np.float32)
    expected = 0.299 * x[..., 0] + 0.587 * x[..., 1] + 0.114 * x[..., 2]
    np.testing.assert_allclose(with_channels(x, 1)[..., 0], expected, rtol=1e-6)
    assert with_channels(x[..., :2], 1).shape == (2, 3, 3, 2)
