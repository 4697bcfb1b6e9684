"""Two processes of four devices each are one of eight: real processes on one machine.

Started by its path, this file is one of those processes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jaxae
from jaxae import Parallel, networks, recipes
from jaxae.errors import ArgumentError
from jaxae.streaming.batches import shuffled_batches
from jaxae.training.parallel import fsdp, make_mesh, replicated
from jaxae.training.placement import Share, local
from train.__main__ import parse
from train.training import train

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds; what takes longer hangs
STEPS, BATCH, SEED = 10, 16, 5  # steps of an epoch, of which there are two
LOST = "another host was lost, or the connection to it"

RECIPES = {
    "vae": lambda: recipes.vae((8, 8, 1), 2, network=networks.FullyConnected((32,))),
    "conv": lambda: recipes.vae(
        (8, 8, 1), 2, network=networks.Convolutional((8,), batch_norm=True)
    ),
    "vqvae": lambda: recipes.vqvae(
        (8, 8, 1), 16, 8, network=networks.Convolutional((8,))
    ),
    "factor": lambda: recipes.factor_vae(
        (8, 8, 1), 2, network=networks.FullyConnected((32,)), hidden=(16,)
    ),
}


def pictures(count: int) -> np.ndarray:
    """Random dots, more of them in the later rows of an image."""
    share = np.linspace(0.1, 0.9, 8)[:, None]
    dots = np.random.default_rng(0).uniform(size=(count, 8, 8)) < share
    return dots.astype(np.uint8) * 255


def train_here(
    kind: str, way: str, layout: str, devices: int | None
) -> dict[str, np.ndarray]:
    """Twenty steps of SGD: losses, parameters, and the rows that this process read."""
    images = {"x": pictures(STEPS * BATCH)[..., None]}
    read = []

    def stream(first: int):
        batches = shuffled_batches(
            images,
            BATCH,
            SEED,
            first=first,
            process=jax.process_index(),
            processes=jax.process_count(),
            devices=jax.device_count(),
        )
        for batch in batches:
            shared = isinstance(batch, Share)
            read.append((batch.batch if shared else batch)["x"])
            yield batch

    streamed = way == "stream"
    mesh = make_mesh(devices=jax.devices()[:devices])
    fitted = jaxae.fit(
        RECIPES[kind](),
        stream if streamed else images,
        steps_per_epoch=STEPS if streamed else None,
        key=jax.random.key(SEED),
        epochs=2,
        batch_size=BATCH,
        tx=optax.sgd(1e-3),
        progress=False,
        parallel=Parallel(mesh, fsdp if layout == "fsdp" else replicated),
    )
    variables = local({**fitted.state.params, **fitted.state.collections})
    flat, _ = jax.tree_util.tree_flatten_with_path(variables)
    found = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}
    found["losses"] = np.array([row["loss"] for row in fitted.history])
    if streamed:
        found["read"] = np.stack(read[: 2 * STEPS])
    return found


def main(address: str, process: str, out: str, *how: str) -> None:
    jax.distributed.initialize(address, 2, int(process))
    assert (jax.local_device_count(), jax.device_count()) == (4, 8)
    np.savez(out, **train_here(*how, None))


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module", autouse=True)
def environment(shared_folder, use_devices):
    """Compiled programs of these tests only, and four devices a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXAE_CACHE", str(shared_folder / "hosts-cache"))
        patch.setenv("PYTHONPATH", str(ROOT))
        use_devices(patch, 4)
        yield


def start(*command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that `end` finds its children
    )


def end(process: subprocess.Popen) -> None:
    """With its children, where there are any left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def finish(*processes: subprocess.Popen, status: int = 0) -> list[tuple[str, str]]:
    """What they printed; they must end by themselves, a hang fails."""
    try:
        printed = [each.communicate(timeout=PATIENCE) for each in processes]
    finally:
        for each in processes:
            end(each)
    for each, (_, stderr) in zip(processes, printed, strict=True):
        assert each.returncode == status, stderr
    return printed


def assert_close(found: dict, expected: dict) -> None:
    assert found.keys() - {"read"} == expected.keys() - {"read"}
    for name in found.keys() - {"read"}:
        np.testing.assert_allclose(
            found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize(
    ("kind", "way", "layout"),
    [
        ("vae", "memory", "data"),
        pytest.param("vae", "stream", "data", marks=pytest.mark.slow),
        pytest.param("vae", "memory", "fsdp", marks=pytest.mark.slow),
        pytest.param("conv", "memory", "data", marks=pytest.mark.slow),
        pytest.param("vqvae", "memory", "data", marks=pytest.mark.slow),
        pytest.param("factor", "memory", "data", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one(kind, way, layout, tmp_path):
    address = free_address()
    outs = [str(tmp_path / f"{process}.npz") for process in range(2)]
    finish(
        *[
            start(__file__, address, str(process), out, kind, way, layout)
            for process, out in enumerate(outs)
        ]
    )
    first, second = [dict(np.load(out)) for out in outs]
    one, eight = train_here(kind, way, "data", 1), train_here(kind, way, layout, 8)
    for expected in (one, eight):
        assert_close(first, expected)
        assert_close(second, expected)
    assert first["losses"][1] < first["losses"][0]
    if way == "stream":  # each process has read the half that is its own
        assert first["read"].shape == second["read"].shape == (20, 8, 8, 8, 1)
        together = np.concatenate([first["read"], second["read"]], axis=1)
        np.testing.assert_array_equal(together, one["read"])


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "dots.npy"
    np.save(path, pictures(300))
    return path


def arguments(images: Path, out: Path, *options: str, epochs: int) -> list[str]:
    """240 of the images are for training: the last batch is a whole one too."""
    size = ["--model.latent-dim", "2", "--model.network", "mlp:32"]
    length = ["--epochs", str(epochs), "--batch-size", "40", "--nll-samples", "0"]
    where = ["--data", str(images), "--out", str(out)]
    return ["-m", "train", "vae", *where, *size, *length, *options]


def start_both(*command: str) -> list[subprocess.Popen]:
    both = ["--distributed", free_address(), "--num-processes", "2", "--process-id"]
    return [start(*command, *both, str(process)) for process in range(2)]


def rows(out: Path) -> list[dict]:
    file = out / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]


def wait_for_epochs(out: Path, count: int, *processes: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(rows(out)) < count:
        if any(each.poll() is not None for each in processes):
            finish(*processes)
        if time.monotonic() > deadline:
            for each in processes:
                end(each)
            raise TimeoutError
        time.sleep(0.02)


def assert_same_losses(out: Path, expected: Path) -> None:
    found, wanted = rows(out), rows(expected)
    assert [row["epoch"] for row in found] == [row["epoch"] for row in wanted]
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(
            [row[name] for row in found], [row[name] for row in wanted], rtol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [[], ["--stream"], ["--parallel", "fsdp"]],
    ids=["memory", "stream", "fsdp"],
)
def test_programs_on_two_hosts(options, images, tmp_path, monkeypatch, use_devices):
    both, eight, one = tmp_path / "both", tmp_path / "eight", tmp_path / "one"
    first, second = finish(
        *start_both(*arguments(images, both, *options, epochs=4)),
    )
    assert "8 × cpu, 2 hosts" in first[0] and "epoch 4/4" in first[0]
    assert second[0] == "" and first[1] == second[1] == ""
    use_devices(monkeypatch, 8)
    finish(start(*arguments(images, eight, *options, epochs=4)))
    alone = [*options, "--parallel", "none"]  # the last one counts
    finish(start(*arguments(images, one, *alone, epochs=4)))
    for expected in (eight, one):
        assert_same_losses(both, expected)
        found, wanted = result(both), result(expected)
        assert found == pytest.approx(wanted, rel=1e-4)
    names = {path.name for path in both.iterdir()}
    assert names == {path.name for path in eight.iterdir()}


def result(out: Path) -> dict:
    numbers = json.loads((out / "result.json").read_text())
    return {
        name: value
        for name, value in numbers.items()
        if isinstance(value, float)
        and name not in ("train_seconds", "examples_per_second")
    }


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["data", "fsdp"])
def test_other_hosts_go_on_with_a_checkpoint(layout, images, tmp_path):
    """Two hosts are told to end, then a single one is, then two end the training."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    finish(start(*arguments(images, whole, epochs=60)))
    options = ["--resume", "--parallel", layout]
    resume = arguments(images, out, *options, epochs=60)
    both = start_both(*resume)
    wait_for_epochs(out, 5, *both)
    both[1].terminate()  # one is enough
    first, second = finish(*both, status=75)
    done = len(rows(out))
    assert done < 60
    assert f"terminated: saved after epoch {done} of 60" in first[1]
    assert f"terminated: saved after epoch {done} of 60" in second[1]
    single = start(*resume)
    wait_for_epochs(out, done + 5, single)
    single.terminate()
    ((stdout, _),) = finish(single, status=75)
    assert f"4 × cpu\ngoing on after epoch {done}\n" in stdout
    done = len(rows(out))
    first, _ = finish(*start_both(*resume))
    assert f"8 × cpu, 2 hosts\ngoing on after epoch {done}\n" in first[0]
    assert [row["epoch"] for row in rows(out)] == list(range(1, 61))
    assert_same_losses_in_the_long_run(out, whole)


def assert_same_losses_in_the_long_run(out: Path, expected: Path) -> None:
    """Adam makes more of the rounding than SGD."""
    found = [row["validation_loss"] for row in rows(out)]
    wanted = [row["validation_loss"] for row in rows(expected)]
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def child_of(process: subprocess.Popen) -> int:
    """The process that trains: the other one is there to tell how it ended."""
    file = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    (child,) = file.read_text().split()
    return int(child)


@pytest.mark.slow
def test_an_error_of_one_host_ends_both(images, tmp_path):
    """Only the first looks at the directory, and something is in the way."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("in the way")
    first, second = start_both(*arguments(images, out, epochs=2))
    try:
        ((_, error),) = finish(first, status=1)
        second.communicate(timeout=PATIENCE)
        assert second.returncode != 0
    finally:
        end(second)
    assert "is not empty" in error and "Traceback" not in error


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_lost_host_is_told_and_a_new_start_goes_on(killed, images, tmp_path):
    out = tmp_path / "run"
    # So long that it cannot end before.
    resume = arguments(images, out, "--resume", epochs=3000)
    both = start_both(*resume)
    wait_for_epochs(out, 3, *both)
    os.kill(child_of(both[killed]), signal.SIGKILL)
    ((_, stderr),) = finish(both[1 - killed], status=70)
    (line,) = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert LOST in line and "--resume" in line
    assert "Traceback" not in stderr
    finish(both[killed], status=128 + signal.SIGKILL)
    done = len(rows(out))
    again = start_both(*resume)
    wait_for_epochs(out, done + 3, *again)
    for each in again:
        each.terminate()
    first, _ = finish(*again, status=75)
    assert "going on after epoch" in first[0]
    assert [row["epoch"] for row in rows(out)] == list(range(1, len(rows(out)) + 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--process-id", "0"], "--distributed must be auto or HOST:PORT with"),
        (["--num-processes", "2"], "--distributed must be auto or HOST:PORT with"),
        (["--distributed", "nowhere"], "must be auto or HOST:PORT, got"),
        (["--distributed", ":1234"], "must be auto or HOST:PORT, got"),
        (
            ["--distributed", "host:port"],
            "--distributed must be auto or HOST:PORT, got",
        ),
        (["--distributed", "host:65536"], "must be auto or HOST:PORT, got"),
        (["--distributed", "127.0.0.1:1"], "--num-processes and --process-id beside"),
        (
            ["--distributed", "h:1", "--num-processes", "2", "--process-id", "2"],
            "a number and an index below it, got (2, 2)",
        ),
    ],
)
def test_options_that_do_not_go_together(options, message, images, tmp_path):
    out = tmp_path / "run"
    name, config = parse(["vae", "--data", str(images), "--out", str(out), *options])
    with pytest.raises(ArgumentError) as raised:
        train(out, name, config)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not out.exists()


if __name__ == "__main__":
    main(*sys.argv[1:])
