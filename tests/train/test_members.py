"""Many trainings in one program: each as alone, and what is said of all together."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxae.errors import ArgumentError
from jaxae.training.checkpoint import saved_epochs
from train import evaluate
from train.__main__ import parse
from train.errors import RunError
from train.members import parse_sweep, plan_members
from train.presets import PRESETS
from train.run import Run, open_run, write_json
from train.summary import write_summary
from train.training import train

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds; what takes longer hangs
TIMES = ("seconds", "examples_per_second", "train_seconds")
SETTINGS = ("seed", "parameters", "epochs")
OPTIONS = "--model.latent-dim 2 --model.network mlp:32 --nll-samples 0".split()


@pytest.fixture(scope="module", autouse=True)
def environment(shared_folder, use_devices):
    """Compiled programs of these tests only, and one device for every program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXAE_CACHE", str(shared_folder / "members-cache"))
        use_devices(patch, 1)
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Random dots, more of them in the later rows of an image."""
    path = tmp_path_factory.mktemp("data") / "dots.npy"
    share = np.linspace(0.1, 0.9, 8)[:, None]
    dots = np.random.default_rng(0).uniform(size=(240, 8, 8)) < share
    np.save(path, dots.astype(np.uint8) * 255)
    return path


def arguments(images: Path, out: Path, *options: str, epochs: int = 3) -> list[str]:
    where = ["vae", "--data", str(images), "--out", str(out)]
    return [*where, *OPTIONS, "--epochs", str(epochs), "--batch-size", "40", *options]


def run_here(images: Path, out: Path, *options: str, epochs: int = 3):
    asked = arguments(images, out, "--parallel", "none", *options, epochs=epochs)
    name, config = parse(asked)
    return train(out, name, config)


def numbers(path: Path) -> dict:
    """Of result.json, without what depends on the machine."""
    result = json.loads((path / "result.json").read_text())
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, int | float) and name not in TIMES
    }


def history(path: Path) -> list[dict]:
    rows = open_run(path).history()
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def assert_close(path: Path, expected: Path) -> None:
    """The same training, to rounding."""
    assert numbers(path) == pytest.approx(numbers(expected), rel=1e-4, abs=1e-6)
    rows, wanted = history(path), history(expected)
    assert len(rows) == len(wanted)
    for row, want in zip(rows, wanted, strict=True):
        assert row == pytest.approx(want, rel=1e-4, abs=1e-6)


def assert_summarised(group: dict, members: list[Path]) -> None:
    """A group of summary.json holds the moments of its members' results."""
    assert group["members"] == [path.name for path in members]
    assert group["diverged"] == 0
    each = [numbers(path) for path in members]
    for name in each[0].keys() - set(SETTINGS):
        values = [result[name] for result in each]
        moments = {"n": len(values), "mean": np.mean(values)}
        if len(members) > 1:
            moments["sd"] = np.std(values, ddof=1)
        assert group["results"][name] == pytest.approx(moments, rel=1e-9)
    assert not group["results"].keys() & set(SETTINGS)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """A run of the seed 1 by itself."""
    out = tmp_path_factory.mktemp("alone") / "run"
    run_here(images, out, "--seed", "1")
    return out


@pytest.mark.slow
def test_seeds_are_the_single_runs_and_summarised(images, alone, tmp_path, capsys):
    out = tmp_path / "seeds"
    run_here(images, out, "--seeds", "2")
    members = [out / "seed-0", out / "seed-1"]
    assert_close(out / "seed-1", alone)
    assert numbers(out / "seed-0")["seed"] == 0
    assert history(out / "seed-0") != history(out / "seed-1")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["option"] is None
    assert_summarised(summary["groups"]["all"], members)
    table = capsys.readouterr().out
    loss = summary["groups"]["all"]["results"]["validation_loss"]
    (line,) = [line for line in table.splitlines() if "│ validation_loss" in line]
    assert f"{loss['mean']:,.6g} ± {loss['sd']:.2g}" in line
    (line,) = [line for line in table.splitlines() if "│ trainings" in line]
    assert line.split()[3] == "2"
    with pytest.raises(RunError, match="holds several runs; name one of them"):
        evaluate.evaluate(evaluate.Arguments(out))
    before, rows = numbers(out / "seed-1"), history(out / "seed-1")
    evaluate.evaluate(evaluate.Arguments(out / "seed-1"))
    assert numbers(out / "seed-1") == before
    # It is finished: to go on is to evaluate again.
    run_here(images, out, "--seeds", "2", "--resume")
    assert (numbers(out / "seed-1"), history(out / "seed-1")) == (before, rows)


@pytest.mark.slow
def test_values_of_an_option_are_the_single_runs(images, tmp_path):
    # In processes of their own: here the types of jaxae's arguments are checked, and a
    # beta that varies is no Python number.
    out, single = tmp_path / "sweep", tmp_path / "single"
    values = ["--sweep", "model.beta", "0.5", "4"]
    finish(start(tmp_path, *arguments(images, out, "--seeds", "2", *values)))
    table = (tmp_path / "log").read_text()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["option"] == "model.beta"
    assert list(summary["groups"]) == ["0.5", "4"]
    for value, group in summary["groups"].items():
        members = [out / f"model.beta-{value}-seed-{seed}" for seed in (0, 1)]
        assert_summarised(group, members)
    assert any({"0.5", "4"} <= set(line.split()) for line in table.splitlines())
    alone = ["--seed", "1", "--model.beta", "4"]
    finish(start(tmp_path, *arguments(images, single, *alone)))
    assert_close(out / "model.beta-4-seed-1", single)


@pytest.mark.slow
def test_an_option_is_swept_in_either_spelling(images, tmp_path):
    for name, option in (
        ("a", "optimizer.learning-rate"),
        ("b", "optimizer.clip_norm"),
    ):
        run_here(images, tmp_path / name, "--sweep", option, "0.01", "0.1", epochs=1)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert "optimizer.learning_rate-0.01-seed-0" in names
    single = tmp_path / "single"
    run_here(images, single, "--optimizer.clip-norm", "0.1", epochs=1)
    assert_close(tmp_path / "b" / "optimizer.clip_norm-0.1-seed-0", single)


@pytest.mark.parametrize("option", ["model.free-bits", "model.free_bits"])
def test_a_name_in_either_spelling(option):
    _, config = parse(["vae", "--sweep", option, "1", "2.5"])
    assert parse_sweep(config) == ("model.free_bits", (1.0, 2.5))


def test_of_the_options_those_that_can_be_swept_are_named():
    _, config = parse(["vae", "--sweep", "model.bta", "1"])
    with pytest.raises(ArgumentError) as raised:
        parse_sweep(config)
    numbers = ["model.beta", "model.capacity", "model.free_bits"]
    rest = "average clip_norm learning_rate warmup weight_decay"
    numbers += [f"optimizer.{name}" for name in rest.split()]
    said = f"--sweep must be one of {', '.join(numbers)}, got 'model.bta'"
    assert str(raised.value) == f"{said}; did you mean 'model.beta'?"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.gamma", "1", "2"], "got 'model.gamma'"),
        (["modl.beta", "1", "2"], "got 'modl.beta'; did you mean 'model.beta'?"),
        (["model.network.hidden", "1"], "got 'model.network.hidden'"),
        (["model.recipe", "1"], "--sweep must be one of"),
        (["model.network", "1", "2"], "model.network must be an option that is"),
        (["model.likelihood", "1", "2"], "model.likelihood must be an option that is"),
        (["model.latent-dim", "2", "3"], "model.latent_dim must be an option that is"),
        (["steps_per_epoch", "2", "3"], "steps_per_epoch must be an option that is"),
        (["stream", "0", "1"], "stream must be an option that is a real number"),
        (["model.beta"], "OPTION NUMBER NUMBER"),
        (["model.beta", "one", "2"], "OPTION NUMBER NUMBER"),
        (["model.beta", "1", "nan"], "must be finite numbers"),
        (["model.beta", "1", "1.00000001"], "must be numbers with other digits each"),
        (
            ["optimizer.weight-decay", "0.1", "0.2"],
            "optimizer.weight_decay decides",
        ),
        (["model.beta", "1", "2", "--stream"], "--sweep is for data in memory"),
        (
            ["model.beta", "1", "--parallel", "fsdp"],
            "--sweep is for --parallel data or none",
        ),
    ],
)
def test_what_cannot_be_swept_is_said_before_there_is_a_run(
    options, message, images, tmp_path
):
    name, config = parse(arguments(images, tmp_path / "run", "--sweep", *options))
    with pytest.raises(ArgumentError) as raised:
        train(tmp_path / "run", name, config)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "--seeds must be a whole number of at least 1"),
        (["--seeds", "2", "--stream"], "--seeds is for data in memory"),
        (
            ["--seeds", "2", "--parallel", "pmap"],
            "--seeds is for --parallel data",
        ),
    ],
)
def test_seeds_that_do_not_go_together(options, message, images, tmp_path):
    name, config = parse(arguments(images, tmp_path / "run", *options))
    with pytest.raises(ArgumentError, match=message):
        train(tmp_path / "run", name, config)
    assert not (tmp_path / "run").exists()


def start(folder: Path, *asked: str) -> subprocess.Popen:
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "train", *asked],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
        )


def finish(process: subprocess.Popen) -> str:
    """What it complained of; it must end by itself, a hang fails."""
    try:
        _, stderr = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    return stderr


def kill_after(process: subprocess.Popen, member: Path, epochs: int) -> None:
    """Kills a program when there is a checkpoint of so many epochs of a member."""
    deadline = time.monotonic() + PATIENCE
    while max(saved_epochs(member / "checkpoints"), default=0) < epochs:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=PATIENCE)


@pytest.mark.slow
def test_an_option_that_shapes_the_program_is_refused(images, tmp_path):
    sweep = ["--sweep", "optimizer.weight-decay", "0", "0.1"]
    swept = arguments(images, tmp_path / "run", *sweep)
    program = start(tmp_path, *swept)
    _, stderr = program.communicate(timeout=PATIENCE)
    assert program.returncode == 1
    assert stderr.startswith("error: --sweep optimizer.weight_decay decides how the")
    assert stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_seeds_that_were_killed_go_on_to_the_same_end(images, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    many = ["--seeds", "3"]
    finish(start(tmp_path, *arguments(images, whole, *many, epochs=40)))
    resume = arguments(images, out, *many, "--resume", epochs=40)
    # By the first and the last of them: between its checkpoints the others come.
    for member, epochs in (("seed-0", 7), ("seed-2", 15), ("seed-0", 22)):
        kill_after(start(tmp_path, *resume), out / member, epochs)
    assert not finish(start(tmp_path, *resume))
    for name in ("seed-0", "seed-1", "seed-2"):
        assert history(out / name) == history(whole / name)
        assert [row["epoch"] for row in history(out / name)] == list(range(1, 41))
        assert numbers(out / name) == numbers(whole / name)
    groups = [
        json.loads((path / "summary.json").read_text())["groups"]["all"]
        for path in (out, whole)
    ]
    for group in groups:
        for name in TIMES:
            group["results"].pop(name, None)
    assert groups[0] == groups[1]


def test_a_number_that_is_not_finite_is_left_out_of_the_summary(tmp_path):
    values = ({"nll_nats": None, "mse": 1.0}, {"nll_nats": 3.0, "mse": 2.0})
    preset, config = "ae", PRESETS["ae"].config()
    run = Run(tmp_path, preset, dataclasses.replace(config, seeds=2), (8, 8, 1), 10)
    members = plan_members(run)
    for member, numbers in zip(members.runs, values, strict=True):
        member.path.mkdir()
        write_json(member.result, numbers)
    results = write_summary(run, members)["groups"]["all"]["results"]
    assert results["nll_nats"] == {"n": 1, "mean": 3.0}
    assert results["mse"] == {"n": 2, "mean": 1.5, "sd": pytest.approx(0.5**0.5)}
