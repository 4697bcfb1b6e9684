"""Programs on data with inputs of their own, gaps and weights, and on other data."""

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxae
from jaxae.errors import ArgumentError
from train import apply, evaluate
from train.__main__ import main, parse
from train.data import Dataset, Split, load
from train.data.digest import differing
from train.errors import DataError, RunError
from train.run import Run, open_run
from train.training import train

COUNT = 40
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
CLEAN = RNG.random((COUNT, 6, 6, 1)).astype(np.float32)
HOLES = RNG.random(CLEAN.shape) < 0.3
SMALL = "--epochs 1 --batch-size 16 --nll-samples 0 --parallel none".split()
MLP = ["--model.latent-dim", "3", "--model.network", "mlp:5"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def start(out: Path, preset: str, data: str, *options: str) -> Run:
    words = [preset, "--data", data, "--out", str(out), *SMALL, *MLP, *options]
    name, config = parse(words)
    return train(out, name, config)


def results(path: Path) -> dict:
    return json.loads((path / "result.json").read_text())


@pytest.mark.parametrize("seeds", ["1", "2"])
def test_what_patience_ended_is_finished(seeds, tmp_path, save, capsys):
    still = "--optimizer.learning-rate 1e-30 --epochs 9 --patience 1 --seeds".split()
    options = [save("x.npy", CLEAN), *still, seeds]
    run = start(tmp_path / "run", "ae", *options)
    assert "ended after epoch 2 of 9: no better one for --patience 1" in (
        capsys.readouterr().out
    )
    members = [run.path] if seeds == "1" else sorted(run.path.glob("seed-*"))
    assert len(members) == int(seeds)
    for path in members:
        assert results(path)["best_epoch"] == 1 and jaxae.load(path)
    start(run.path, "ae", *options, "--resume")  # is the same once more
    assert len(open_run(members[-1]).history()) == 2


TABLE = 50 + 20 * RNG.standard_normal((COUNT, 4)).astype(np.float32)
REAL = ["--model.likelihood", "gaussian"]
NO_PICTURES = {
    "unscaled": (
        TABLE,
        ["vae"],
        r"in \[0, 1\] for preparation\.binarize.*for --model.likelihood gaussian: "
        "scale them by --scale standardize$",
    ),
    "gaps": (
        np.where(TABLE > 60, np.nan, TABLE),
        ["vae", *REAL, "--scale", "standardize"],
        "not finite in float32; --missing nan says that NaN is what is not known$",
    ),
    "convolutions": (
        TABLE,
        ["conv-vae", *REAL, "--scale", "standardize"],
        r"^error: the shape of an example in --data must be \(height, width, chan",
    ),
    "series": (
        np.tile(TABLE[:, :, None], 3),
        ["vae", *REAL, "--scale", "standardize"],
        "must be pictures of 4×3, .*: what is no picture is given as vectors, of shape "
        r"\[\d+, 12\], with --scale$",
    ),
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_is_told_in_options(kind, tmp_path, save, capsys):
    array, words, message = NO_PICTURES[kind]
    arguments = ["--data", save("x.npy", array), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.program.set_up", lambda: None)
        main([*words, *arguments])
    assert re.search(message, capsys.readouterr().err.strip())


def test_a_table_is_reported_as_one(tmp_path, save):
    options = [*REAL, "--scale", "standardize"]
    run = start(tmp_path / "run", "vae", save("x.npy", TABLE), *options)
    result = results(run.path)
    assert result["psnr_db"] is None and result["explained_variance"] < 1
    scaled = np.asarray(run.recipe().prepare.forward(load_test(run).images))
    expected = 1 - result["mse"] / scaled.var(axis=0).mean()
    assert result["explained_variance"] == pytest.approx(expected, rel=1e-4)
    words = re.sub(r"--\S+|\S+\.png", "", (run.path / "report.html").read_text())
    text = html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", " ", words, flags=re.S))
    assert "per value, of [0, 1] or scaled" in text
    assert not re.search(r"\bimages?\b", text)


def test_pairs_train_and_are_shown(tmp_path, save):
    data, inputs = save("clean.npy", CLEAN), save("damaged.npy", CLEAN / 2)
    run = start(tmp_path / "run", "ae", data, "--inputs", inputs)
    config = open_run(run.path).config
    assert (config.inputs, config.missing) == (inputs, None)
    result = results(run.path)
    model = jaxae.load(run.path)
    known = load_test(run)
    made = np.asarray(jaxae.reconstruct(model, known.inputs))
    assert result["mse"] == pytest.approx(
        np.square(made - known.images).mean(), rel=1e-5
    )
    error = np.square(known.images / 2).mean(axis=(1, 2, 3))
    expected = (-10 * np.log10(error)).mean()
    assert result["psnr_damaged_db"] == pytest.approx(expected, rel=1e-5)
    assert (run.path / "restorations.png").exists()
    page = (run.path / "report.html").read_text()
    assert "as their inputs show them" in page and f"--inputs {inputs}" in page


def load_test(run: Run):
    from train.examples import configured

    return configured(run.config).test


@pytest.mark.parametrize("preset", ["ae", "vae"])
def test_inputs_of_another_shape(preset, tmp_path, save):
    """Here from 4 numbers to pictures."""
    vectors = CLEAN.reshape(COUNT, -1)[:, :4]
    data = save("both.npz", x=CLEAN, inputs=vectors, label=np.full(COUNT, "a"))
    run = start(tmp_path / "run", preset, data, "--nll-samples", "2")
    again = open_run(run.path)
    assert again.input_shape == (4,)
    assert again.recipe().module.shape_seen == (4,)
    assert results(run.path)["psnr_damaged_db"] is None
    names = {path.stem for path in run.path.glob("*.png")}
    assert names >= {"reconstructions", "interpolations", "codes"}
    assert "restorations" not in names
    out = tmp_path / "made.npy"
    inputs = Path(save("inputs.npy", vectors))
    apply.apply(apply.Arguments(run.path, inputs, out=out))
    assert np.load(out).shape == CLEAN.shape


def test_a_family_that_takes_no_other_shape_says_so(tmp_path, save):
    data = save("both.npz", x=CLEAN, inputs=CLEAN[:, :3])
    message = r"--inputs must have the shape of the data, \(6, 6, 1\).*got \(3, 6, 1\)"
    with pytest.raises(ArgumentError, match=message):
        start(tmp_path / "run", "dae", data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("preset", "stream"),
    [("vae", False), ("vae", True), ("dae", False), ("inpaint", False)],
)
def test_gaps_count_nowhere(preset, stream, tmp_path, save):
    """Whatever stands in the holes, all that a run has is the same."""
    found = []
    options = ["--model.corruption", "holes:2:3"] if preset == "inpaint" else []
    options += ["--stream"] if stream else []
    for fill in (0.2, np.nan):
        x = np.where(HOLES, np.float32(fill), CLEAN)
        data = save(f"{fill}.npz", x=x, missing=HOLES, weight=np.arange(1, COUNT + 1))
        run = start(tmp_path / f"{fill}", preset, data, *options)
        pictures = {p.name: p.read_bytes() for p in run.path.glob("*.png")}
        rows = [(row["loss"], row["validation_loss"]) for row in run.history()]
        numbers = results(run.path)
        found.append(
            (pictures, rows, [numbers[k] for k in ("mse", "elbo_nats", "hole_mse")])
        )
    assert found[0] == found[1]
    assert np.isfinite(found[0][1]).all() and found[0][2][0] > 0
    assert "interpolations.png" not in found[0][0]
    assert ("restorations.png" in found[0][0]) == (preset != "vae")


def test_missing_as_a_word(tmp_path, save):
    gaps = np.where(HOLES, np.float32(np.nan), CLEAN)
    by_mask = save("mask.npz", x=gaps, missing=HOLES)
    by_word = save("word.npy", gaps)
    one = start(tmp_path / "mask", "ae", by_mask)
    two = start(tmp_path / "word", "ae", by_word, "--missing", "nan")
    assert one.history()[0]["loss"] == two.history()[0]["loss"]


def test_labels_that_nothing_needs_are_not_looked_at(tmp_path, save):
    kinds = [np.eye(COUNT), np.char.mod("%d", np.arange(COUNT)), np.full(COUNT, np.nan)]
    for i, label in enumerate(kinds):
        start(tmp_path / f"{i}", "ae", save(f"{i}.npz", x=CLEAN, label=label))
    data = save("words.npz", x=CLEAN, label=kinds[1])
    with pytest.raises(ArgumentError, match=r"\['label'\] must be numbers of shape"):
        start(tmp_path / "shown", "conditional-vae", data)


@pytest.mark.parametrize("preset", ["unet", "conv-dae"])
def test_a_presets_own_damage_is_not_for_pairs(preset, tmp_path, save):
    """What is damaged already would be damaged once more."""
    data = save("both.npz", x=CLEAN, inputs=CLEAN / 2)
    name, config = parse([preset, "--data", data, "--epochs", "1"])
    message = f"the data bring inputs, which {preset} would damage once more"
    with pytest.raises(ArgumentError, match=message):
        train(tmp_path / "run", name, config)
    assert not (tmp_path / "run").exists()


def test_samplers_are_fitted_to_the_codes_of_the_inputs():
    from train.generation import _shown, compare_samplers

    recipe = jaxae.recipes.vae((6, 6, 1), 2, network=jaxae.networks.FullyConnected(()))
    model = jaxae.fit(recipe, CLEAN, key=KEY, epochs=1, progress=False).model
    shown = _shown(model, Split(CLEAN, inputs=CLEAN / 2), KEY)
    assert shown.keys() == {"x"}
    np.testing.assert_array_equal(shown["x"], CLEAN / 2)
    drawn = _shown(model, Split(CLEAN), KEY)["x"]
    assert set(np.unique(drawn)) == {0.0, 1.0}
    gaps = Split(CLEAN, missing=HOLES)
    message = "--samplers is for data that are known whole"
    with pytest.raises(ArgumentError, match=message):
        compare_samplers(None, model, Dataset("gaps", gaps, gaps, gaps), None, KEY)


def test_the_mean_image_is_of_what_is_known():
    from train.data.rows import mean_example

    x = RNG.integers(0, 256, (600, 3, 2, 2), np.uint8)
    missing = RNG.random((600, 3, 2, 1)) < 0.5
    missing[:, 0, 0] = True
    weight = RNG.random(600)
    counts = weight[:, None, None, None] * ~missing * np.ones(x.shape)
    counts[:, 0, 0] = 0
    masked = np.ma.average(np.ma.array(x, mask=counts == 0), axis=0, weights=counts)
    np.testing.assert_allclose(mean_example(x, missing, weight), masked.filled(0))


# --- recognised by what they hold ---------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Run, Path]:
    """A run and its data."""
    folder = tmp_path_factory.mktemp("finished")
    np.savez(folder / "data.npz", x=CLEAN, inputs=CLEAN / 2)
    return train_vae(folder / "run", folder / "data.npz"), folder / "data.npz"


def train_vae(out: Path, data: Path, *options: str) -> Run:
    """One that draws nothing that it explains."""
    return start(out, "vae", str(data), "--model.likelihood", "gaussian", *options)


@pytest.fixture
def moved(finished, tmp_path) -> tuple[Path, Path]:
    """A copy of the run, and its data, elsewhere; what they name is not there."""
    run, data = finished
    shutil.copytree(run.path, tmp_path / "copy")
    shutil.copy(data, tmp_path / "elsewhere.npz")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    config["config"]["data"] = str(tmp_path / "gone.npz")
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    return tmp_path / "copy", tmp_path / "elsewhere.npz"


def judge(run: Path, data: object = None, **options: Any) -> None:
    data = None if data is None else str(data)
    evaluate.evaluate(evaluate.Arguments(run, data, **options))


def test_a_moved_run_and_its_moved_data_are_evaluated(finished, moved):
    path, data = moved
    (path / "result.json").unlink()
    with pytest.raises(DataError, match=r"gone\.npz: no such file"):
        judge(path)
    judge(path, data)
    one, two = results(path), results(finished[0].path)
    assert one.pop("data") != two.pop("data")
    assert one == two
    assert not list(path.glob("on-*"))


def test_a_moved_run_is_gone_on_with(finished, moved):
    path, data = moved
    run = train_vae(path, data, "--resume")
    assert run.history() == finished[0].history()
    before = (path / "config.json").read_bytes()
    np.savez(data, x=CLEAN, inputs=CLEAN / 3)
    message = rf"--resume: .* other data than those in --data {data}: .* in inputs$"
    with pytest.raises(RunError, match=message):
        train_vae(path, data, "--resume")
    np.savez(data, x=CLEAN[::-1], label=np.arange(COUNT))
    with pytest.raises(RunError, match=r"they differ in images, inputs, labels$"):
        train_vae(path, data, "--resume")
    assert (path / "config.json").read_bytes() == before


def test_data_that_changed_in_their_place(moved):
    path, data = moved
    np.savez(data.with_name("gone.npz"), x=1 - CLEAN, inputs=CLEAN / 2)
    with pytest.raises(RunError, match=r"gone.npz: no longer what .* in images; give"):
        judge(path)


def test_other_data_have_results_of_their_own(moved, tmp_path, capsys):
    """All of them count, even if they are two; or their test part."""
    path, _ = moved
    before = (path / "result.json").read_bytes()
    few, inputs = tmp_path / "few.npy", tmp_path / "inputs.npy"
    np.save(few, 1 - CLEAN[:2])
    np.save(inputs, CLEAN[:2] / 3)
    judge(path, few, inputs=str(inputs))
    said = f"--data {few}: not the run's, they differ in images"
    assert said in capsys.readouterr().out
    (folder,) = path.glob("on-few-*")
    found = results(folder)
    made = np.asarray(jaxae.reconstruct(jaxae.load(path), CLEAN[:2] / 3))
    assert found["evaluated_on"] == str(few)
    expected = np.square(made - (1 - CLEAN[:2])).mean()
    assert found["mse"] == pytest.approx(expected, rel=1e-5)
    assert found["psnr_damaged_db"] is not None
    assert f"of 2 examples in {few}" in (folder / "report.html").read_text()
    assert (path / "result.json").read_bytes() == before
    parts = tmp_path / "parts.npz"
    np.savez(parts, x_train=CLEAN, x_test=CLEAN[:5])
    judge(path, parts)
    (folder,) = path.glob("on-parts-*")
    assert "of 5 examples in" in (folder / "report.html").read_text()


def test_other_data_of_another_shape(moved, tmp_path):
    path, _ = moved
    np.save(tmp_path / "wide.npy", CLEAN[:, :, :4])
    message = r"--data .*wide.npy must be of shape \[n, 6, 6, 1\]"
    with pytest.raises(ArgumentError, match=message):
        judge(path, tmp_path / "wide.npy")
    with pytest.raises(
        ArgumentError, match="--samplers is for the run's own data alone"
    ):
        np.save(tmp_path / "same.npy", CLEAN)
        judge(path, tmp_path / "same.npy", samplers=True)
    with pytest.raises(ArgumentError, match="--data must be given with --inputs"):
        judge(path, inputs="x.npy")


def test_runs_of_earlier_versions_name_their_data(moved):
    path, data = moved
    config = json.loads((path / "config.json").read_text())
    del config["digests"], config["input_shape"]
    config["config"]["data"] = str(data)
    (path / "config.json").write_text(json.dumps(config))
    judge(path)
    judge(path, data)
    assert not list(path.glob("on-*"))
    train_vae(path, data, "--resume")
    other = data.rename(data.with_name("other.npz"))
    with pytest.raises(RunError, match="started with another --data"):
        train_vae(path, other, "--resume")


def test_runs_of_the_first_version_are_refused_as_such(tmp_path):
    config = {"model": {"latent_dim": 2}, "data": "mnist", "epochs": 1}
    saved = {"preset": "vae", "config": config, "shape": [4, 4, 1], "train_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(RunError, match=r"of jaxae 0\.1\.0, whose runs are not read"):
        open_run(tmp_path)


def test_unread_images_are_recognised(tmp_path):
    x = np.arange(1200 * 2, dtype=np.float32).reshape(1200, 2) / 2400
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", x)
    one, two = (load(str(tmp_path / f"{name}.npy"), stream=True) for name in "ab")
    assert one.digests == two.digests != load(str(tmp_path / "a.npy")).digests
    x[-1, 1] = 0
    np.save(tmp_path / "b.npy", x)
    again = load(str(tmp_path / "b.npy"), stream=True)
    assert differing(again.digests, one.digests) == ["images"]
