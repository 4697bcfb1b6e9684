"""The programs, run for real on small images."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from PIL import Image

import jaxae
from jaxae.errors import ArgumentError, CheckpointError
from jaxae.training import init_state, trained_model
from train import apply, evaluate, export
from train.__main__ import main, parse
from train.commands import parse as parse_arguments
from train.data import read_images
from train.errors import DataError, RunError
from train.presets import PRESETS
from train.run import open_run, restore_model
from train.training import train
from train.writing import write

ROOT = Path(__file__).parents[2]
COUNT = 60
HOLES = ["--model.corruption", "holes:3:3"]
# Of the run that most tests look at, whose programs are compiled.
SIZES = ["--model.latent-dim", "3", "--model.network", "mlp:9"]
RESULT_KEYS = {
    "elbo_nats",
    "nll_nats",
    "nll_samples",
    "rate_nats",
    "distortion_nats",
    "active_units",
    "mse",
    "psnr_db",
    "examples_per_second",
    "train_seconds",
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Decoded images and compiled programs of these tests only."""
    old = os.environ.get("JAXAE_CACHE")
    os.environ["JAXAE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("JAXAE_CACHE")
    if old is not None:
        os.environ["JAXAE_CACHE"] = old


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Bright bars on black, 8x8."""
    x = np.zeros((COUNT, 8, 8), np.uint8)
    for i in range(COUNT):
        x[i, :, i % 8] = 55 + 200 * (i % 2)
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, images=x, labels=np.arange(COUNT) % 8)
    return path


def run_preset(out: Path, data: Path, preset: str, *options: str):
    """Parses the options as the command line does, and trains."""
    small = ["--epochs", "2", "--batch-size", "16", "--nll-samples", "7"]
    arguments = [preset, "--data", str(data), "--out", str(out), *small, *options]
    name, config = parse(arguments)
    return train(out, name, config)


@pytest.fixture(scope="module")
def vae(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("runs") / "vae"
    return run_preset(out, images, "vae", *SIZES, "--tensorboard")


def results(run) -> dict:
    return json.loads((run.path / "result.json").read_text())


def test_no_preset_is_the_vae():
    assert parse([])[0] == "vae"
    assert parse([]) == parse(["vae"])
    assert parse(["--epochs", "3"])[1].epochs == 3


def test_the_vae_leaves_all_that_a_run_has(vae):
    names = {path.name for path in vae.path.iterdir()}
    assert names >= {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "models",
        "result.json",
        "report.html",
        "learning_curves.png",
        "reconstructions.png",
        "samples.png",
        "interpolations.png",
        "codes.png",
        "tensorboard",
    }
    result = results(vae)
    assert result.keys() >= RESULT_KEYS
    assert result["nll_samples"] == 7
    assert result["elbo_nats"] == pytest.approx(
        -result["rate_nats"] - result["distortion_nats"], rel=1e-5
    )
    assert result["psnr_gain_db"] is None
    rows = vae.history()
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    assert all(0 < row["examples_per_second"] for row in rows)


def test_tensorboard_files_hold_scalars_and_pictures(vae):
    written = b"".join(p.read_bytes() for p in (vae.path / "tensorboard").iterdir())
    assert b"validation_loss" in written
    assert b"samples" in written and b"\x89PNG" in written


def assert_loads(run):
    for which in ("best", "last"):
        found = jaxae.load(run.path, which=which)
        expected, _ = restore_model(run, which)
        assert found.recipe == expected.recipe == run.recipe()
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_run_is_loaded_without_the_programs(vae):
    assert_loads(vae)


def test_a_run_begins_with_the_weights_of_another(vae, images, tmp_path):
    wider = ["--model.latent-dim", "4", "--model.network", "mlp:9", "--epochs", "1"]
    still = ["--optimizer.learning-rate", "0"]
    options = [*wider, *still, "--start", str(vae.path), "--nll-samples", "0"]
    message = "^start: 5 of 8 arrays are the model's; afresh begin"
    with pytest.warns(UserWarning, match=message):
        run = run_preset(tmp_path / "run", images, "vae", *options)
    assert open_run(run.path).config.start == str(vae.path)
    found, start = (jaxae.load(each.path).variables["params"] for each in (run, vae))
    jax.tree.map(np.testing.assert_array_equal, found["encoder"], start["encoder"])
    again = run_preset(tmp_path / "run", images, "vae", *options, "--resume")
    assert again.history() == run.history()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--start", "RUN", "--seeds", "2"],
            "--seeds is for trainings without --start",
        ),
        (
            ["--start", "RUN", "--model.network", "mlp:7:batch_norm=yes"],
            "start must be one with arrays",
        ),
        (["--start", "none"], "none: no saved model there"),
    ],
)
def test_what_a_run_cannot_begin_with(options, message, vae, images, tmp_path):
    options = [str(vae.path) if each == "RUN" else each for each in options]
    folder = tmp_path / "run"
    smaller = tmp_path / "smaller.npy"
    np.save(smaller, np.load(images)["images"][:, :5, :5])
    with pytest.raises((ArgumentError, CheckpointError), match=message):
        run_preset(folder, smaller, "vae", "--model.latent-dim", "2", *options)
    assert not folder.exists()


@pytest.mark.slow
def test_evaluate_recomputes_the_same_numbers(vae):
    before = results(vae)
    shutil.rmtree(vae.path / "models")  # as of a run that was interrupted
    with pytest.raises(CheckpointError, match=f"train.evaluate {vae.path}` writes it"):
        jaxae.load(vae.path)
    evaluate.evaluate(evaluate.Arguments(vae.path))
    assert results(vae) == before
    assert_loads(vae)
    evaluate.evaluate(evaluate.Arguments(vae.path, nll_samples=0))
    after = results(vae)
    assert after["nll_nats"] is None
    assert after["elbo_nats"] == before["elbo_nats"]
    evaluate.evaluate(evaluate.Arguments(vae.path))


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param("inpaint", marks=pytest.mark.slow),
        pytest.param("dae", marks=pytest.mark.slow),
        pytest.param("ae", marks=pytest.mark.slow),
        pytest.param("conv-dae", marks=pytest.mark.slow),
        pytest.param("keras-dae", marks=pytest.mark.slow),
        pytest.param("unet", marks=pytest.mark.slow),
    ],
)
def test_other_presets(preset, tmp_path, images):
    run = run_preset(
        tmp_path / "run",
        images,
        preset,
        *(HOLES if preset == "inpaint" else []),
    )
    result = results(run)
    assert result.keys() >= RESULT_KEYS
    assert result["nll_nats"] is None and result["active_units"] is None
    assert np.isfinite(result["mse"])
    restores = preset != "ae"
    assert (result["psnr_gain_db"] is not None) == restores
    assert (run.path / "restorations.png").exists() == restores
    assert (result["hole_mse"] is not None) == (preset == "inpaint")
    assert (result["hole_mse_mean_fill"] is not None) == (preset == "inpaint")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_saved_configuration_reads_back(preset, tmp_path):
    from train.run import Run, create_run

    _, config = parse([preset, "--seed", "5", "--optimizer.clip-norm", "2"])
    run = Run(tmp_path / "run", preset, config, (8, 8, 1), 48)
    create_run(run)
    assert open_run(run.path) == run


def test_a_run_is_not_overwritten_without_being_told(vae, images, tmp_path):
    before = results(vae)
    with pytest.raises(RunError, match="not empty"):
        run_preset(vae.path, images, "vae")
    assert results(vae) == before
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds no run"):
        run_preset(tmp_path, images, "vae", "--overwrite")
    assert (tmp_path / "letter.txt").exists()


@pytest.mark.slow
def test_overwrite_replaces_a_run(tmp_path, images):
    options = ["--model.latent-dim", "2", "--model.network", "mlp:5"]
    run_preset(tmp_path / "run", images, "ae", *options)
    run = run_preset(tmp_path / "run", images, "ae", *options, "--overwrite")
    assert len(run.history()) == 2


def test_apply_encodes_reconstructs_and_samples(vae, images, tmp_path):
    def use(task: str, out: str, **options) -> Path:
        source = None if task == "sample" else images
        arguments = apply.Arguments(
            vae.path, source, task=task, out=tmp_path / out, **options
        )
        apply.apply(arguments)
        return tmp_path / out

    codes = np.load(use("encode", "codes.npy"))
    assert codes.shape == (COUNT, 3)
    again = np.load(use("reconstruct", "again.npy"))
    assert again.shape == (COUNT, 8, 8, 1)
    pictures = sorted(use("reconstruct", "pictures").iterdir())
    assert len(pictures) == COUNT
    pixels = np.asarray(Image.open(pictures[3]))
    np.testing.assert_array_equal(pixels, np.round(again[3, ..., 0] * 255))
    assert np.load(use("sample", "samples.npy", count=5)).shape == (5, 8, 8, 1)
    with_input = apply.Arguments(
        vae.path, images, task="sample", out=tmp_path / "more.npy", count=5
    )
    apply.apply(with_input)
    assert np.load(tmp_path / "more.npy").shape == (5, 8, 8, 1)


def test_several_latents_are_written_side_by_side(tmp_path):
    write(tmp_path / "codes.npz", (np.ones((2, 3)), np.zeros((2, 1))))
    with np.load(tmp_path / "codes.npz") as codes:
        assert [codes[name].shape for name in codes.files] == [(2, 3), (2, 1)]
    for name, values in (("a.npy", (np.ones(2),)), ("a.npz", np.ones(2))):
        with pytest.raises(ArgumentError, match="file for several latents"):
            write(tmp_path / name, values)


def test_apply_has_no_label_for_a_model_without(vae, tmp_path):
    options = {"task": "sample", "out": tmp_path / "x.npy", "count": 2}
    with pytest.raises(ArgumentError, match=r"^--label must be left out"):
        apply.apply(apply.Arguments(vae.path, label=3, **options))
    file = {"conditions": tmp_path / "x.npz"}
    with pytest.raises(ArgumentError, match=r"^--conditions must be left .* beside x$"):
        apply.apply(apply.Arguments(vae.path, **file, **options))


@pytest.mark.slow
def test_apply_restores_only_what_the_mask_names(tmp_path, images):
    run = run_preset(tmp_path / "run", images, "inpaint", *HOLES)
    x = np.load(images)["images"]
    mask = np.zeros(x.shape, bool)
    mask[:, 2:5, 2:5] = True
    np.save(tmp_path / "mask.npy", mask)
    out = tmp_path / "restored.npy"
    apply.apply(
        apply.Arguments(
            run.path, images, task="repair", out=out, mask=tmp_path / "mask.npy"
        )
    )
    restored = np.load(out)[..., 0]
    np.testing.assert_allclose(restored[~mask], x[~mask] / 255, atol=1e-6)
    assert not np.allclose(restored[mask], x[mask] / 255, atol=1e-3)


@pytest.fixture(scope="module")
def conditional() -> jaxae.Model:
    """Shown the labels, with the weights that it starts from."""
    recipe = jaxae.recipes.conditional_vae(
        (24, 24, 1), 2, num_labels=4, network=jaxae.networks.FullyConnected((5,))
    )
    batch = {"x": np.zeros((2, 24, 24, 1), np.float32), "label": np.zeros(2, np.int32)}
    init = jax.jit(partial(init_state, recipe, optax.sgd(0.1)))
    return trained_model(recipe, init(batch, jax.random.key(0)))


@pytest.fixture
def restore(conditional, monkeypatch, tmp_path):
    """What `train.apply` makes of images and masks, as arrays or as a folder."""
    monkeypatch.setattr("train.run.open_run", lambda path: path)
    monkeypatch.setattr("train.run.restore_model", lambda run: (conditional, 1))
    np.save(tmp_path / "images.npy", images_of_noise())

    def use(mask: np.ndarray | Path | None, **options) -> np.ndarray:
        if isinstance(mask, np.ndarray):
            np.save(tmp_path / "mask.npy", mask)
            mask = tmp_path / "mask.npy"
        out = tmp_path / "restored.npy"
        out.unlink(missing_ok=True)
        images = tmp_path / "images.npy"
        options = {"task": "repair", "out": out, "mask": mask, "label": 3, **options}
        apply.apply(apply.Arguments(tmp_path, images, **options))
        return np.load(out)

    return use


def images_of_noise() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(2, 24, 24, 1)).astype(np.float32)


def holes() -> np.ndarray:
    """A seventh of two images, [2, 24, 24]."""
    holes = np.zeros((2, 24, 24), bool)
    holes[0, 3:14, 5:14] = True
    holes[1, 9:20, 11:17] = True
    return holes


def test_apply_restores_with_a_mask_and_a_label(restore, conditional):
    x, labels = images_of_noise(), np.full(2, 3)
    expected = jaxae.repair(conditional, x, missing=holes(), label=labels)
    np.testing.assert_array_equal(restore(holes()), expected)
    whole = jaxae.repair(conditional, x, label=labels)
    np.testing.assert_array_equal(restore(None), whole)


def test_apply_repairs_larger_images_in_tiles(restore, conditional, tmp_path):
    x = np.random.default_rng(1).uniform(size=(2, 30, 41, 1)).astype(np.float32)
    np.save(tmp_path / "images.npy", x)
    hole, labels = np.zeros((2, 30, 41), bool), np.full(2, 3)
    hole[:, 20:, 25:] = True
    made = restore(hole)
    expected = jaxae.repair_in_tiles(conditional, x, missing=hole, label=labels)
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(made[~hole], x[~hole])
    small = restore(hole, image_size=(24, 24))
    assert small.shape == (2, 24, 24, 1)


def test_masks_may_be_jpeg(restore, tmp_path):
    """They hold few pixels that are just black or white."""
    (tmp_path / "masks").mkdir()
    for number, hole in enumerate(holes()):
        picture = Image.fromarray(hole.astype(np.uint8) * 255)
        picture.save(tmp_path / "masks" / f"{number}.jpg", quality=60)
    stored = read_images(tmp_path / "masks")[..., 0]
    assert (stored != 0).mean() > 1.5 * holes().mean()
    np.testing.assert_array_equal(restore(tmp_path / "masks"), restore(holes()))


@pytest.mark.parametrize(
    "values", [(0, 1, np.uint8), (0, 255, np.int64), (0.0, 1.0, float), (10, 240, int)]
)
def test_masks_have_the_values_of_images(values, restore):
    black, white, dtype = values
    mask = np.where(holes(), white, black).astype(dtype)
    np.testing.assert_array_equal(restore(mask), restore(holes()))


def test_a_mask_without_white_is_refused(restore):
    with pytest.raises(DataError, match=r"--mask must be black and white.*got '7"):
        restore(holes().astype(np.uint8) * 7)
    x = images_of_noise()
    np.testing.assert_array_equal(restore(np.zeros((2, 24, 24), np.uint8)), x)


def test_masks_of_vectors_name_single_values(tmp_path):
    mask = np.array([[True, False, False], [False, False, True]])
    np.save(tmp_path / "mask.npy", mask)
    np.testing.assert_array_equal(apply.missing(tmp_path / "mask.npy", None), mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "encode"}, "INPUT is missing, the images to encode"),
        ({"task": "encode", "input": "images", "out": "codes"}, "a .npy file"),
        (
            {"task": "encode", "input": "images", "mask": "images"},
            "of no use to encode",
        ),
    ],
)
def test_apply_says_what_does_not_go_together(options, message, vae, images, tmp_path):
    paths = {"images": images, "codes": tmp_path / "codes"}
    options = {k: paths.get(v, v) for k, v in options.items()}
    options.setdefault("out", tmp_path / "out.npy")
    with pytest.raises(ArgumentError, match=message):
        apply.apply(apply.Arguments(vae.path, **options))


def test_apply_does_not_overwrite(vae, images, tmp_path):
    (tmp_path / "out.npy").write_text("mine")
    with pytest.raises(ArgumentError, match="does not exist yet"):
        apply.apply(apply.Arguments(vae.path, images, out=tmp_path / "out.npy"))


def test_missing_and_damaged_runs(vae, tmp_path):
    with pytest.raises(RunError, match="no run there"):
        open_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        open_run(tmp_path)
    (tmp_path / "config.json").write_text((vae.path / "config.json").read_text())
    with pytest.raises(CheckpointError, match="no such directory"):
        evaluate.evaluate(evaluate.Arguments(tmp_path))


def test_a_checkpoint_of_another_architecture(vae, tmp_path):
    config = json.loads((vae.path / "config.json").read_text())
    config["config"]["model.latent_dim"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "checkpoints").symlink_to(vae.path / "checkpoints")
    with pytest.raises(CheckpointError, match="of another recipe than asked for"):
        evaluate.evaluate(evaluate.Arguments(tmp_path))


def test_images_that_the_model_cannot_take(vae, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((3, 8, 9, 3), np.uint8))
    with pytest.raises(ArgumentError, match=r"x must be of shape \[n, 8, 8, 1\]"):
        apply.apply(
            apply.Arguments(vae.path, tmp_path / "wide.npy", out=tmp_path / "out.npy")
        )


def command(*arguments: str, **options) -> subprocess.CompletedProcess:
    """A program as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        timeout=300,
        check=False,
        **{"text": True, **options},
    )


@pytest.fixture
def here(monkeypatch):
    """A program in this process leaves the process as it is."""
    monkeypatch.setattr("train.program.set_up", lambda: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vea"], "got 'vea'; did you mean 'vae'"),
        (["train", "vae", "--epoch", "3"], "--epoch"),
        (["train", "vae", "--model.likelihood", "binomal", "--data"], "'binomal'"),
        (
            ["train", "vae", "--sweep", "model.bta", "1", "--data"],
            "did you mean 'model.beta'",
        ),
        (["train", "vae", "--model.latent-dim", "0", "--data"], "latent_dim must be"),
        (["train", "vae", "--data", "nowhere.npy"], "nowhere.npy"),
        (["train", "vae", "--epochs", "0"], "--epochs must be"),
        (["train", "vae", "--data", "tfds:cifar10"], "cifar10"),
        (["train.evaluate", "nowhere"], "no run there"),
        (["train", "vae", "--out", "/proc/run", "--data"], "/proc/run"),
    ],
)
def test_mistakes_end_in_one_message(
    arguments, message, images, here, monkeypatch, capsys
):
    module = {"train": "train.__main__"}.get(arguments[0], arguments[0])
    data = [str(images)] if arguments[-1] == "--data" else []
    monkeypatch.setattr(sys, "argv", [*arguments, *data])
    with pytest.raises(SystemExit) as ended:
        import_module(module).main()
    assert ended.value.code in (1, 2)
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("program", "arguments", "nearest"),
    [
        ("train.__main__", ["Conv-Vea"], "conv-vae"),
        ("train.scaling.__main__", ["vea"], "vae"),
        ("train.__main__", ["vae", "--precision", "bfloat1"], "bfloat16"),
        ("train.apply", ["run", "x", "--task", "encod"], "encode"),
        ("train.export", ["run", "--platforms", "cpu", "tpuu"], "tpu"),
        ("train.benchmark.seeds", ["vea"], "vae"),
    ],
)
def test_the_nearest_name_is_suggested(
    program, arguments, nearest, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        import_module(program).main()
    assert ended.value.code == 2
    words = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"did you mean {nearest!r}" in words


@pytest.mark.parametrize(
    ("program", "arguments", "preset"),
    [
        ("train", ["iwae"], "iwae"),
        ("train", [], "vae"),
        ("train.scaling", ["ae"], "ae"),
    ],
)
def test_an_option_is_suggested_of_the_preset_that_was_named(
    program, arguments, preset, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", [program, *arguments, "--model.latentdim", "3"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"{program}.__main__").main()
    assert ended.value.code == 2
    words = " ".join(capsys.readouterr().err.replace("│", " ").split())
    suggested, _, after = words.partition("Perhaps you meant: ")[2].partition(" INT ")
    assert suggested == "--model.latent-dim"
    assert f"python -m {program} {preset} --help" in after
    assert after.count("--help") == 1


def test_choices_are_parsed_and_shown_as_before(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", "x run --platforms cpu tpu".split())
    assert parse_arguments(export.Arguments, "x").platforms == ("cpu", "tpu")
    assert parse(["vae", "--precision", "bfloat16"])[1].precision == "bfloat16"
    with pytest.raises(SystemExit):
        parse(["vae", "--help"])
    printed = capsys.readouterr().out
    assert "--precision {float32,bfloat16}" in printed
    assert "(default: float32)" in printed


def test_nothing_is_lost_on_an_output_without_unicode(
    images, tmp_path, here, monkeypatch
):
    out = tmp_path / "run"
    arguments = ["vae", "--data", str(images), "--out", str(out), *SIZES]
    arguments += "--epochs 1 --batch-size 16 --nll-samples 0 --seeds 2".split()
    printed = io.BytesIO()
    stdout = io.TextIOWrapper(printed, encoding="cp1251")
    monkeypatch.setattr(sys, "stdout", stdout)
    main(arguments)
    stdout.flush()
    text = printed.getvalue().decode("cp1251")
    assert " \\xd7 cpu" in text  # the sign is not in this encoding, ± is
    assert "mean ± standard deviation" in text


def test_help_is_printed_in_any_encoding():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = command("train", "conv-vae", "--help", env=environment)
    assert ended.returncode == 0 and "usage" in ended.stdout, ended.stderr


def test_no_directory_is_made_by_a_program_that_cannot_print(images, tmp_path):
    out = tmp_path / "run"
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "train", "ae", "--data", images, "--out", out],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    assert ended.returncode == 1
    assert "error: " in ended.stderr and "Traceback" not in ended.stderr
    assert not out.exists()


# On one of the eight devices that the tests have.
ALONE = "--epochs 1 --nll-samples 0 --parallel none"

HOMELESS = """
import os, pwd, runpy, sys
for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "JAXAE_CACHE",
             "MPLCONFIGDIR", "TFDS_DATA_DIR"):
    os.environ.pop(name, None)
def nobody(*_):
    raise KeyError("no such entry in the password file")
pwd.getpwuid = pwd.getpwnam = nobody
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


def homeless(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    """A program of a user whom the machine does not know, as in containers."""
    return subprocess.run(
        [sys.executable, "-c", HOMELESS, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_who_has_no_home_trains_without_a_cache(images, tmp_path):
    out = tmp_path / "run"
    arguments = ["vae", "--data", str(images), "--out", str(out), *SIZES]
    arguments += ALONE.split()
    ended = homeless("train", *arguments, folder=tmp_path)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    told = "warning: going on without a cache: there is no home directory; set JAXAE"
    assert ended.stderr.count(told) == 1
    assert (out / "report.html").exists()
    missing = homeless("train.data", "~/x.npy", folder=tmp_path)
    assert missing.stderr.startswith("error: ~/x.npy: no such file")
    tfds = homeless("train.data", "tfds:cifar10", folder=tmp_path)
    assert "no home directory to look in: set TFDS_DATA_DIR" in tfds.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 300,000 bytes; making one takes the rights to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = ["-o", "size=300000"]
    mount = ["mount", "-t", "tmpfs", *size, "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_ends_in_one_message_and_keeps_what_was_there(images, full_disk):
    out = full_disk / "run"
    arguments = ["--data", str(images), "--out", str(out), *ALONE.split()]
    ended = command("train", "ae", *arguments)
    assert ended.returncode == 1
    assert "the disk is full" in ended.stderr
    assert ended.stderr.count("error:") == 1 and "Traceback" not in ended.stderr
    assert open_run(out).preset == "ae"


@pytest.mark.slow
def test_ctrl_c_keeps_the_finished_epochs(images, tmp_path):
    out = tmp_path / "run"
    arguments = ["--data", str(images), "--out", str(out), "--epochs", "100000"]
    # A shell's background jobs ignore Ctrl-C, and so would the program.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "train", "ae", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 300
    try:
        while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert f"python -m train.evaluate {out}" in stdout
    evaluate.evaluate(evaluate.Arguments(out))
    assert json.loads((out / "result.json").read_text())["epochs"] >= 3


@pytest.mark.slow
def test_batches_from_the_disk_train_a_sparse_auto_encoder(images, tmp_path):
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, np.random.default_rng(0).normal(size=(70, 6)).astype(np.float32))
    options = ["--model.latent-dim", "12", "--model.k", "3", "--stream"]
    run = run_preset(tmp_path / "run", vectors, "sae", *options)
    rows, result = run.history(), results(run)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    assert result["l0"] == 3 and result["explained_variance"] < 1


@pytest.mark.slow
def test_the_seed_decides_everything(images, tmp_path):
    options = ["--model.network", "mlp:9"]
    first, again = (
        run_preset(tmp_path / name, images, "vae", *options) for name in "ab"
    )
    other = run_preset(tmp_path / "c", images, "vae", *options, "--seed", "1")
    losses = [results(run)["validation_loss"] for run in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_the_library_does_not_need_the_programs():
    code = (
        "import sys, jaxae; "
        "heavy = {'matplotlib', 'tyro', 'tensorflow_datasets', 'grain', 'train'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "[]"
    assert jaxae.__version__ and jax.__version__
