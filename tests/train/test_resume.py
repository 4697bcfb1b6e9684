"""Runs that are killed, told to end or damaged, and go on: real processes."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxae.errors import CheckpointError
from jaxae.training.checkpoint import restore_state, saved_epochs
from train.__main__ import parse
from train.errors import RunError
from train.run import append_metrics, open_run
from train.termination import EXIT_STATUS, Terminated
from train.training import train

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds; what takes longer hangs
TIMES = ("seconds", "examples_per_second", "train_seconds")
OPTIONS = "--model.latent-dim 2 --model.network mlp:32 --nll-samples 0".split()


@pytest.fixture(scope="module", autouse=True)
def environment(shared_folder, use_devices):
    """Compiled programs of these tests only, and one device for every program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXAE_CACHE", str(shared_folder / "resume-cache"))
        use_devices(patch, 1)
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return save_images(tmp_path_factory.mktemp("data") / "dots.npy", 300)


def save_images(path: Path, count: int, size: int = 8) -> Path:
    """Random dots, more of them in the later rows of an image."""
    share = np.linspace(0.1, 0.9, size)[:, None]
    dots = np.random.default_rng(0).uniform(size=(count, size, size)) < share
    np.save(path, dots.astype(np.uint8) * 255)
    return path


def arguments(images: Path, out: Path, *options: str, epochs: int = 6) -> list[str]:
    where = ["vae", "--data", str(images), "--out", str(out)]
    return [*where, *OPTIONS, "--epochs", str(epochs), "--batch-size", "40", *options]


class Program:
    """`python -m train`, in a process of its own, its output in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / f"{time.monotonic_ns()}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "train", *arguments],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
            )

    def finish(self, status: int = 0) -> tuple[str, str]:
        """What it printed; it must end by itself, a hang fails."""
        try:
            _, stderr = self.process.communicate(timeout=PATIENCE)
        finally:
            self.process.kill()
        assert self.process.returncode == status, stderr
        assert "Traceback" not in stderr
        return self.log.read_text(), stderr

    def kill(self) -> None:
        """In the middle of its work: fails if it was done already."""
        assert self.process.poll() is None, self.process.communicate()
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def wait_until(self, happened: Callable[[], bool], pause: float = 0.01) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(pause)

    def wait_for_epochs(self, count: int) -> None:
        """Until it has done so many, without those of earlier starts."""
        self.wait_until(lambda: self.log.read_text().count("\nepoch ") >= count)


def writing(out: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any(out.glob("**/checkpoints/*.orbax-checkpoint-tmp*"))


def numbers(path: Path) -> dict:
    result = json.loads((path / "result.json").read_text())
    return {name: value for name, value in result.items() if name not in TIMES}


def history(path: Path) -> list[dict]:
    rows = open_run(path).history()
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def arrays(path: Path, which: str) -> dict[str, np.ndarray]:
    """All of a saved train state, with the epoch."""
    run = open_run(path)
    state, epoch = restore_state(run.checkpoints, run.recipe(), run.optimizer(), which)
    state = state._replace(key=jax.random.key_data(state.key))
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    named = {jax.tree_util.keystr(name): np.asarray(leaf) for name, leaf in flat}
    return {**named, "epoch": np.asarray(epoch)}


def assert_same_run(path: Path, expected: Path) -> None:
    """Bit by bit, but for the time that things took."""
    rows = history(path)
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows == history(expected)
    assert numbers(path) == numbers(expected)
    for which in ("last", "best"):
        found, asked = arrays(path, which), arrays(expected, which)
        assert found.keys() == asked.keys()
        for name, value in found.items():
            assert value.dtype == asked[name].dtype
            assert value.tobytes() == asked[name].tobytes(), f"{which}: {name}"
    names = {each.name for each in (path / "checkpoints").iterdir()}
    assert all(name.isdigit() for name in names), names


MOMENTS = ("while writing", "at any time", "while training")


def interrupt(program: Program, out: Path, moment: str, delay: float) -> None:
    """Kills a program in the moment that is named, at random (from 0 to 1) within."""
    if moment == "at any time":
        time.sleep(10 * delay)
    elif moment == "while training":
        program.wait_for_epochs(1)
        time.sleep(delay)
    else:
        program.wait_for_epochs(3)
        program.wait_until(lambda: writing(out), pause=0)
        time.sleep(delay / 50)
    program.kill()


@pytest.mark.slow
def test_killed_and_terminated_runs_go_on_to_the_same_end(images, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    Program(tmp_path, *arguments(images, whole, epochs=30)).finish()
    resume = arguments(images, out, "--resume", epochs=30)
    program = Program(tmp_path, *resume)  # nothing is there yet
    interrupt(program, out, "while writing", 0)
    program = Program(tmp_path, *resume)
    program.wait_for_epochs(2)
    program.process.terminate()
    stdout, stderr = program.finish(EXIT_STATUS)
    done = len(history(out))
    assert "going on after epoch" in stdout
    assert (
        stderr == f"terminated: saved after epoch {done} of 30; go on with --resume\n"
    )
    assert done < 30 and int(arrays(out, "last")["epoch"]) == done
    stdout, stderr = Program(tmp_path, *resume).finish()
    assert f"going on after epoch {done}\n" in stdout and not stderr
    assert_same_run(out, whole)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--stream"]], ids=["memory", "stream"])
def test_twenty_kills_leave_no_trace(images, tmp_path, options):
    whole, out = tmp_path / "whole", tmp_path / "run"
    Program(tmp_path, *arguments(images, whole, *options, epochs=500)).finish()
    resume = arguments(images, out, "--resume", *options, epochs=500)
    chance, done = random.Random(0), set()
    for number in range(20):
        program = Program(tmp_path, *resume)
        interrupt(program, out, MOMENTS[number % len(MOMENTS)], chance.random())
        done.add(max(saved_epochs(out / "checkpoints"), default=0))
    assert len(done) > 8, "most kills are to land in the training"
    Program(tmp_path, *resume).finish()
    assert_same_run(out, whole)
    assert not (out / "checkpoints-damaged").exists()


@pytest.mark.slow
def test_a_second_sigterm_ends_at_once(images, tmp_path):
    # An epoch of minutes, so that the first one has not taken effect.
    out = tmp_path / "run"
    many = ["--stream", "--steps-per-epoch", "1000000"]
    program = Program(tmp_path, *arguments(images, out, *many))
    program.wait_until(lambda: (out / "config.json").exists())
    time.sleep(3)
    program.process.terminate()
    time.sleep(1)
    assert program.process.poll() is None
    program.process.terminate()
    program.finish(-signal.SIGTERM)
    assert history(out) == []


def run_here(images: Path, out: Path, *options: str):
    name, config = parse(arguments(images, out, "--parallel", "none", *options))
    return train(out, name, config)


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory) -> Path:
    """Two runs of this process: "whole", and "ended" by SIGTERM in its epoch 4 of 6."""
    folder = tmp_path_factory.mktemp("runs")

    def append_and_end(file, row):
        append_metrics(file, row)
        if row["epoch"] == 4:
            signal.raise_signal(signal.SIGTERM)

    run_here(images, folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.training.append_metrics", append_and_end)
        with pytest.raises(Terminated, match="saved after epoch 4 of 6"):
            run_here(images, folder / "ended")
    return folder


@pytest.fixture
def ended(runs, tmp_path) -> Path:
    """A copy that a test may go on with or damage."""
    shutil.copytree(runs / "ended", tmp_path / "run")
    assert saved_epochs(tmp_path / "run" / "checkpoints") == [3, 4]
    return tmp_path / "run"


def cut_short(folder: Path) -> None:
    """Every file of a checkpoint."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])


@pytest.mark.slow
def test_a_damaged_checkpoint_is_put_aside(runs, ended, images):
    newest = ended / "checkpoints" / "4"
    cut_short(newest)
    with pytest.warns(UserWarning, match="the checkpoint is damaged") as warned:
        run_here(images, ended, "--resume")
    read, written = [str(warning.message) for warning in warned]
    assert read.endswith("the one before it is taken")
    assert written.endswith(f"put aside, into {ended / 'checkpoints-damaged'}")
    for message in (read, written):
        assert str(newest) in message and "\n" not in message
    assert (ended / "checkpoints-damaged" / "4").is_dir()
    assert_same_run(ended, runs / "whole")


@pytest.mark.filterwarnings("ignore:.*the checkpoint is damaged")
def test_nothing_but_damaged_checkpoints(ended, images):
    cut_short(ended / "checkpoints")
    with pytest.raises(CheckpointError, match="no finished epoch") as raised:
        run_here(images, ended, "--resume")
    assert str(ended) in str(raised.value)
    assert len(history(ended)) == 4  # nothing is lost before it is replaced
    assert saved_epochs(ended / "checkpoints") == [3, 4]
    assert not (ended / "checkpoints-damaged").exists()


def test_a_finished_run_is_evaluated_again(runs, images, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs / "whole", out)
    before = (out / "metrics.jsonl").read_bytes()
    (out / "result.json").unlink()
    run_here(images, out, "--resume")
    assert (out / "metrics.jsonl").read_bytes() == before
    assert_same_run(out, runs / "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--optimizer.learning-rate", "0.1"], "--optimizer.learning_rate: 0.001, now"),
        (
            ["--epochs", "9", "--seed", "3"],
            r"--epochs: 6, now 9; --start \S+ and another --out begin a new run with "
            "its weights, without --resume$",
        ),
        (["--epochs", "9", "--seeds", "2"], "--epochs: 6, now 9$"),
        (["--stream"], "--stream: False, now True"),
        (["--data", "other"], "number of training images: 240, now 160"),
        (["--data", "larger"], r"shape of the images: \(8, 8, 1\), now \(9, 9, 1\)"),
    ],
)
def test_another_training_is_not_gone_on_with(
    options, message, ended, images, tmp_path
):
    made = {
        "other": save_images(tmp_path / "other.npy", 200),
        "larger": save_images(tmp_path / "larger.npy", 300, 9),
    }
    options = [str(made.get(each, each)) for each in options]
    before = (ended / "config.json").read_bytes()
    with pytest.raises(RunError, match=f"started with another {message}"):
        run_here(images, ended, "--resume", *options)
    assert (ended / "config.json").read_bytes() == before
    assert saved_epochs(ended / "checkpoints") == [3, 4]


def test_another_preset_is_not_gone_on_with(ended, images):
    _, *options = arguments(images, ended, "--resume")
    name, config = parse(["ae", *options])
    with pytest.raises(RunError, match="another PRESET: vae, now ae"):
        train(ended, name, config)


def test_what_is_there_is_not_replaced_without_resume(ended, images):
    with pytest.raises(RunError, match="is not empty"):
        run_here(images, ended)
    assert saved_epochs(ended / "checkpoints") == [3, 4]


def test_help_does_not_start_jax():
    code = (
        "import runpy, sys; sys.argv = ['train', '--help']\n"
        "try: runpy.run_module('train', run_name='__main__')\n"
        "except SystemExit as end: status = end.code\n"
        "from jax._src import xla_bridge\n"
        "print('ended', status, xla_bridge.backends_are_initialized())"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    assert "usage: python -m train" in printed
    assert printed.splitlines()[-1] == "ended 0 False"
