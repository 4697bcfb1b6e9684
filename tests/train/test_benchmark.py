"""The benchmark against peers: turns, failures, FLOPs, ratios and the report."""

import json
import math
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxae.errors import ArgumentError
from train.benchmark import __main__ as program
from train.benchmark import peak, rounds
from train.benchmark.__main__ import Arguments, benchmark, interpreters
from train.benchmark.cases import CASES, PEERS
from train.benchmark.report import case_rows, show
from train.benchmark.results import Result, Round, check_models, ratio, spread
from train.benchmark.rounds import MODULES, alternate, missing

BY_NAME = {case.name: case for case in CASES}
MLP = BY_NAME["mlp-100"]
PARAMETERS = 784 * 512 + 512 + 512 * 32 + 32 + 16 * 512 + 512 + 512 * 784 + 784


@pytest.fixture(autouse=True, scope="module")
def coarse_pictures():
    """None: the figure's size is looked at."""


def result(peer, *seconds, parameters=10):
    each = [Round(value, 100.0, 2**20, None) for value in seconds]
    return Result(MLP, peer, parameters, each)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two peers that are there and one that is not; (directory, what was printed)."""
    out = tmp_path_factory.mktemp("benchmark")
    patch = pytest.MonkeyPatch()
    patch.setattr(peak, "measure", lambda: 1e11)
    patch.setitem(MODULES, "torch", "no_such_package")
    lines: list[str] = []
    patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(words)))
    peers = ("jaxae", "scan", "torch")
    benchmark(out, Arguments(("mlp-100",), rounds=1, peers=peers, images=250))
    patch.undo()
    return out, lines


def test_two_peers_train_the_same_model_in_turn(measured):
    rows = json.loads((measured[0] / "benchmark.json").read_text())["rows"]
    assert [row["peer"] for row in rows] == ["jaxae", "scan"]
    for row in rows:
        assert row["parameters"] == PARAMETERS
        assert row["images"] == 200  # whole batches
        assert 300 < row["loss"] < 550
        assert row["peak_bytes"] > 2**26
        assert row["examples_per_second"]["median"] == 200 / row["seconds"][0]
        flops = row["flops_per_image"] * row["examples_per_second"]["median"]
        assert row["share_of_peak"] == pytest.approx(flops / 1e11)
    assert rows[0]["ratio"]["median"] == 1.0
    assert rows[1]["ratio"]["median"] == rows[1]["seconds"][0] / rows[0]["seconds"][0]


def test_a_peer_that_is_not_there_is_skipped_by_name(measured):
    assert measured[1] == [
        "torch is skipped: its Python has no no_such_package",
        "mlp-100: jaxae, scan",
        f"-> {measured[0]}",
    ]


def test_an_interrupted_run_keeps_the_cases_that_are_done(monkeypatch, tmp_path):
    def one_case_then_a_key(case, names, pythons, rounds):
        if case is not MLP:
            raise KeyboardInterrupt
        return [result("jaxae", 2.0)]

    monkeypatch.setattr(peak, "measure", lambda: 1e11)
    monkeypatch.setattr(program, "measure", one_case_then_a_key)
    with pytest.raises(KeyboardInterrupt):
        benchmark(tmp_path, Arguments(peers=("jaxae",)))
    made = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["case"] for row in made["rows"]] == ["mlp-100"]


def test_the_figure_is_there(measured):
    with Image.open(measured[0] / "benchmark.png") as picture:
        assert picture.width > 1000 and len(np.unique(np.asarray(picture))) > 10


def test_the_json_has_all_that_a_reader_needs(measured):
    made = json.loads((measured[0] / "benchmark.json").read_text())
    assert made["peak_flops"] == [1e11, 1e11]
    assert set(made["machine"]) == {"processor", "threads"}
    assert set(made["rows"][0]) == {
        *("case", "peer", "parameters", "images", "batch_size", "seconds"),
        *("examples_per_second", "ratio", "loss", "flops_per_image", "share_of_peak"),
        *("peak_bytes", "device_peak_bytes"),
    }


def test_a_peer_that_crashes_is_reported_and_the_others_go_on(monkeypatch, tmp_path):
    """With peers of three lines, which know nothing of a library."""
    answers = "import sys; print('{{}}', flush=True); sys.stdin.readline(); {}"
    line = '{"seconds": 2.0, "loss": 1.0, "peak_bytes": 1, "device_peak_bytes": null}'
    ready = answers.replace("{{}}", '{"parameters": 7}')
    programs = {
        "jaxae": ready.replace("{}", f"print('{line}')"),
        "scan": ready.replace("{}", "raise SystemExit('out of luck')"),
        "torch": "raise ValueError('never ready')",
    }
    monkeypatch.setattr(
        rounds, "_command", lambda name, _: [sys.executable, "-c", programs[name]]
    )
    results = alternate(MLP, list(programs), tmp_path, {}, rounds=1)
    assert [each.failed for each in results] == [
        None,
        "out of luck",
        "ValueError: never ready",
    ]
    rows = case_rows(results, peak=1e9)
    assert rows[0]["parameters"] == 7 and rows[0]["seconds"] == [2.0]
    assert rows[1] == {"case": "mlp-100", "peer": "scan", "failed": "out of luck"}


def test_a_peer_that_does_not_answer_is_left_out(monkeypatch, tmp_path):
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(rounds, "_command", lambda *_: sleeper)
    monkeypatch.setattr(rounds, "PATIENCE", 0.2)
    (only,) = alternate(MLP, ["jaxae"], tmp_path, {}, rounds=1)
    assert only.failed == "no answer within 0.2 s"


def test_starts_are_timed_from_the_command(monkeypatch, tmp_path):
    """By a peer that takes long where its cache is empty, and longer for an epoch."""
    ready = {"parameters": 7, "loss": 1.0, "peak_bytes": 1, "device_peak_bytes": None}
    program = (
        "import os, time, json, sys; "
        "cache = os.environ['JAX_COMPILATION_CACHE_DIR']; "
        "size = json.loads(sys.argv[1])['images']; "
        "time.sleep(size / 100_000 + (0 if os.path.exists(cache) else 0.5)); "
        f"open(cache, 'a').close(); print({json.dumps(ready)!r})"
    )
    monkeypatch.setattr(rounds, "_command", lambda *_: [sys.executable, "-c", program])
    np.save(tmp_path / "images.npy", np.zeros((200, 28, 28, 1), np.uint8))
    case, images = BY_NAME["start"], tmp_path / "images.npy"
    (only,) = rounds.start_over(case, ["jaxae"], images, {}, rounds=1)
    assert (only.failed, only.parameters) == (None, 7)
    (first,), (second,) = only.first_starts, only.second_starts
    assert first.step > 0.5 and second.epoch > 0.6 and first.epoch > 1.1
    assert second.step < first.step and second.epoch < first.epoch
    assert [each.seconds for each in only.rounds] == [second.epoch]
    (row,) = case_rows([only], peak=1e9)
    names = [f"{a}_{b}_seconds" for a in ("first", "second") for b in ("step", "epoch")]
    assert set(names) <= set(row)


def test_the_table_has_a_line_for_every_peer(capsys):
    broken = Result(MLP, "pythae", failed="out of [bold]luck")
    show([[result("jaxae", 0.5), result("torch", 1.0), broken]], [1e11, 2e11])
    title, _, names, _, *lines = capsys.readouterr().out.splitlines()
    assert title.split() == ["VAE", "784-512-16,", "batch", "100"]
    assert names.split()[-4:] == ["of", "peak", "memory", "device"]
    speeds = ["60,000", "60,000", "to", "60,000", "2.00", "x", "100.00"]
    share = f"{MLP.flops * 60_000 / 2e11:.1%}"
    assert lines[1].split() == ["torch", *speeds, share, "1", "MiB"]
    assert lines[2].split() == ["pythae", "failed"]
    assert lines[4] == "pythae failed: out of [bold]luck"
    assert lines[5] == "peak of a float32 product: 100 GFLOP/s before, 200 after"


def test_ratios_are_of_rounds_and_medians_of_ratios():
    ours, theirs = result("jaxae", 1.0, 2.0, 4.0), result("torch", 2.0, 3.0, 40.0)
    assert ratio(ours, theirs) == (2.0, 1.5, 10.0)
    assert spread([3.0, 1.0]) == (2.0, 1.0, 3.0)
    assert ours.speed == (30_000.0, 15_000.0, 60_000.0)


def test_another_number_of_parameters_is_another_model():
    ours, same = result("jaxae", 1.0), result("scan", 1.0)
    other = result("torch", 1.0, parameters=11)
    check_models([other, ours, same])
    assert (ours.failed, same.failed) == (None, None)
    assert other.failed == "not the same model: 11 parameters, where jaxae has 10"


def test_flops_of_training_are_those_that_xla_counts(optimized):
    from train.benchmark.peers.with_scan import VAE, elbo_loss

    module, key, batch = VAE(), jax.random.key(0), 100
    with jax.numpy_rank_promotion("allow"):  # as its users write it
        init = jax.jit(module.init, static_argnums=3)
        params = jax.eval_shape(init, key, jnp.zeros((1, 784)), key, 1)

    def gradient(params, x):
        def mean(params):
            return elbo_loss(module.apply, params, x, key, 1).mean()

        return jax.grad(mean)(params)

    with jax.numpy_rank_promotion("allow"):
        lowered = jax.jit(gradient).lower(params, jnp.zeros((batch, 784)))
    compiled = lowered.compile()
    assert math.isclose(
        compiled.cost_analysis()["flops"] / batch, MLP.flops, rel_tol=0.05
    )


def test_flops_of_the_cases():
    assert MLP.flops == 2 * (3 * 827_392 - 784 * 512)
    decoder, encoder = 16 * 512 + 512 * 784, 784 * 512 + 512 * 32
    assert BY_NAME["nll"].flops == 2 * (encoder + 1000 * decoder)
    assert BY_NAME["iwae-50"].flops == 2 * (3 * (encoder + 50 * decoder) - 784 * 512)


def test_cases_can_be_shortened_to_whole_batches():
    assert MLP.shorten(250).images == 200
    assert MLP.shorten(1).images == 100
    assert MLP.shorten(None) is MLP.shorten(10**6) is MLP
    assert all(case.images % case.batch_size == 0 for case in CASES)
    assert all(set(case.peers) <= set(PEERS) for case in CASES)


def test_networks_of_pythae_have_its_shapes_and_parameters():
    from train.benchmark.peers.with_jaxae import make_recipe

    def count(name):
        case = {"model": BY_NAME[name].model, "task": "train", "samples": 1}
        recipe = make_recipe(case)
        batch = {"x": jnp.zeros((2, 28, 28, 1)), "inputs": jnp.zeros((2, 28, 28, 1))}
        key = jax.random.key(0)

        def init():
            trace, variables = recipe.module.init_with_output(
                key, batch, key, train=True
            )
            return trace.likelihood.mean, variables

        mean, variables = jax.eval_shape(init)
        assert mean.shape == (1, 2, 28, 28, 1)
        return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))

    assert count("keras-denoiser") == 28_353
    assert count("pythae-conv-vae") == 17_232_033
    assert count("vq-vae") == 674_657


def test_interpreters_are_checked():
    assert interpreters([f"torch={sys.executable}"]) == {"torch": Path(sys.executable)}
    for wrong in ("torch", "nobody=/usr/bin/env", "torch=/no/such/file"):
        with pytest.raises(ArgumentError, match="PEER=PATH"):
            interpreters([wrong])
    with pytest.raises(ArgumentError, match="--rounds"):
        benchmark(Path(os.devnull), Arguments(rounds=0))


def test_what_a_python_lacks():
    assert missing("scan", {}) is None
    assert missing("jaxae", {}) is None
