"""Scaling over devices: what is compared, checked, predicted and written."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from jaxae.errors import ArgumentError
from jaxae.inputs import check_data
from jaxae.training import make_train_step
from train.scaling import checks
from train.scaling.__main__ import scale
from train.scaling.arguments import parse
from train.scaling.checks import check
from train.scaling.compiled import Collective, Memory
from train.scaling.figure import draw
from train.scaling.measure import Measured
from train.scaling.predict import RING, Predicted, ring_seconds
from train.scaling.program import Cost
from train.scaling.study import Point, plan
from train.scaling.words import percent, seconds, size

ROOT = Path(__file__).parents[2]
SMALL = (
    *("--shape", "4", "4", "1", "--model.latent-dim", "2"),
    *("--model.network", "mlp:48:gated=yes", "--steps", "2", "--rounds", "2"),
)
PARAMETERS = 4 * sum(
    rows * columns + columns
    for rows, columns in [(16, 96), (48, 4), (2, 96), (48, 16)]  # gates double a layer
)


def run(out: Path, *options: str, preset: str = "vae"):
    """Parses as the command line does; (whether it passed, scaling.json)."""
    name, arguments = parse([preset, *SMALL, *options])
    passed = scale(out, name, arguments)
    return passed, json.loads((out / "scaling.json").read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("measured")
    return out, *run(out, "--devices", "1", "8", "--batch-size", "16")


def test_options_of_a_preset_are_those_of_training():
    name, arguments = parse(["conv-vae", "--model.latent-dim", "5"])
    assert (name, arguments.model.latent_dim) == ("conv-vae", 5)
    assert arguments.model.network == "conv:skip=yes"
    assert parse([])[0] == "vae"


def test_points_of_strong_and_weak_scaling():
    points = plan(*parse(["vae", "--devices", "8", "2", "1"])).points
    # The preset's 100 images, a little more: what 8 devices divide.
    assert points == (
        Point("strong", 1, 104),
        Point("strong", 2, 104),
        Point("strong", 8, 104),
        Point("weak", 1, 104),
        Point("weak", 2, 208),
        Point("weak", 8, 832),
    )
    weak = plan(*parse(["vae", "--mode", "weak"])).points
    assert [point.devices for point in weak] == [1, 2, 4, 8]
    assert [point.batch_size for point in weak] == [100, 200, 400, 800]
    predicted = plan(*parse(["vae", "--compile-only", "--devices", "8"])).points
    assert predicted == (Point("weak", 1, 100), Point("weak", 8, 800))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "9"], "--devices must be at most 8"),
        (["--devices", "0"], "--devices must be a whole number of at least 1"),
        (["--batch-size", "100"], "--batch-size must be a multiple of 8"),
        (["--batch-size", "0"], "--batch-size must be a whole number"),
        (["--compile-only"], "--devices must be given"),
        (["--steps", "0"], "--steps must be"),
        (["--rounds", "0"], "--rounds must be"),
        (["--link-bandwidth", "0"], "--link-bandwidth must be above 0"),
        (["--peak-flops", "-1"], "--peak-flops must be above 0"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        plan(*parse(["vae", *options]))


def test_batches_have_labels_where_the_model_sees_them():
    batch = plan(*parse(["conditional-vae", *SMALL])).batch(30)
    assert batch["x"].shape == (30, 4, 4, 1)
    assert batch["label"].shape == (30,)
    assert set(batch["label"]) <= set(range(10)) and len(set(batch["label"])) > 1
    assert set(plan(*parse(["vae", *SMALL])).batch(3)) == {"x"}


def test_batches_have_all_that_the_model_is_shown():
    shown = ("age", "place:5:embedding=2", "hint:shape=4,4,1:to=encoder")
    preset, arguments = parse(["conditional-vae", *SMALL, "--model.conditions", *shown])
    study = plan(preset, arguments)
    batch = study.batch(30)
    forms = {name: (values.shape, values.dtype) for name, values in batch.items()}
    assert forms == {
        "x": ((30, 4, 4, 1), np.uint8),
        "label": ((30,), np.int32),
        "age": ((30,), np.float32),
        "place": ((30,), np.int32),
        "hint": ((30, 4, 4, 1), np.float32),
    }
    assert set(batch["place"]) == set(range(5)) and len(set(batch["age"])) == 30
    check_data(study.recipe, batch, "batch")
    step = make_train_step(study.recipe, study.tx)
    loss = jax.eval_shape(step, study.shapes(), batch)[1]["loss"]
    assert loss.shape == ()


def test_data_parallel_moves_the_gradient_alone(measured):
    _, passed, result = measured
    assert passed
    for row in result["rows"]:
        if row["devices"] == 1:
            assert row["collectives"] == {}
        else:
            assert set(row["collectives"]) == {"all-reduce"}
            moved = row["collectives"]["all-reduce"]["bytes"]
            assert PARAMETERS <= moved <= PARAMETERS + 64  # the mean loss and metrics


def test_loss_is_the_same_on_any_devices(measured):
    _, _, result = measured
    strong = [row["loss"] for row in result["rows"] if row["mode"] == "strong"]
    weak = [row["loss"] for row in result["rows"] if row["mode"] == "weak"]
    assert len(strong) == 2 and np.isfinite(strong).all()
    np.testing.assert_allclose(strong, strong[0], rtol=1e-5)
    assert len(set(weak)) == 2  # other batches


def test_speed_and_efficiency(measured):
    _, _, result = measured
    for mode in ("strong", "weak"):
        rows = [row for row in result["rows"] if row["mode"] == mode]
        own = [row["examples_per_second"] / row["devices"] for row in rows]
        for row, speed in zip(rows, own, strict=True):
            step = row["batch_size"] / row["examples_per_second"]
            np.testing.assert_allclose(row["step_seconds"], step)
            np.testing.assert_allclose(row["efficiency"], speed / own[0])
            assert row["compile_seconds"] > 0


def test_memory_falls_with_the_share_of_the_batch(measured):
    _, _, result = measured
    arguments = {
        (row["mode"], row["devices"]): row["memory_bytes"]["arguments"]
        for row in result["rows"]
    }
    bytes_per_image = 4 * 4
    saved = arguments["strong", 1] - arguments["strong", 8]
    assert saved == (16 - 2) * bytes_per_image
    assert arguments["weak", 1] == arguments["weak", 8]


def test_simulated_devices_are_said_to_be(measured, capsys):
    out, _, result = measured
    assert result["simulated"]
    assert any("say nothing about real ones" in note for note in result["notes"])
    picture = np.asarray(Image.open(out / "scaling.png").convert("L"))
    assert picture.std() > 10
    name, arguments = parse(["vae", *SMALL, "--devices", "2", "--mode", "weak"])
    assert scale(out, name, arguments)
    printed = capsys.readouterr().out
    assert "speeds mean nothing" in printed
    assert "check passed, all-reduced bytes" in printed


@pytest.mark.slow
def test_fully_sharded_divides_the_state(tmp_path, measured):
    options = ("--devices", "1", "8", "--batch-size", "16", "--mode", "strong")
    passed, result = run(tmp_path, *options, "--parallel", "fsdp")
    assert passed
    alone, divided = result["rows"]
    # The wide kernel with its moments is divided, the small arrays are not.
    saved = alone["memory_bytes"]["arguments"] - divided["memory_bytes"]["arguments"]
    kernel = 3 * 16 * 96 * 4
    assert saved == kernel * 7 // 8 + (16 - 2) * 16
    assert divided["collectives"]["all-gather"]["bytes"] >= kernel // 3
    np.testing.assert_allclose(divided["loss"], alone["loss"], rtol=1e-5)
    _, _, replicated = measured
    np.testing.assert_allclose(alone["loss"], replicated["rows"][0]["loss"], rtol=1e-6)


def test_prediction_follows_from_the_program(tmp_path, capsys):
    options = ("--compile-only", "--devices", "2", "8", "--batch-size", "16")
    rates = ("--peak-flops", "1e9", "--link-bandwidth", "1e8")
    passed, result = run(tmp_path, *options, *rates)
    assert passed
    assert [row["devices"] for row in result["rows"]] == [1, 2, 8]
    alone = result["rows"][0]
    for row in result["rows"]:
        n = row["devices"]
        moved = row["collectives"].get("all-reduce", {"bytes": 0})["bytes"]
        compute, communicate = row["flops"] / 1e9, 2 * (n - 1) / n * moved / 1e8
        np.testing.assert_allclose(row["compute_seconds"], compute)
        np.testing.assert_allclose(row["communicate_seconds"], communicate)
        np.testing.assert_allclose(row["step_seconds"], compute + communicate)
        np.testing.assert_allclose(row["overlapped_seconds"], max(compute, communicate))
        ideal = alone["step_seconds"]
        np.testing.assert_allclose(row["efficiency"], ideal / row["step_seconds"])
        overlapped = ideal / row["overlapped_seconds"]
        np.testing.assert_allclose(row["overlapped_efficiency"], overlapped)
    # Forward and backward through all layers but for the input's gradient.
    least = 2 * 16 * (2 * 16 * 96 + 3 * (48 * 4 + 2 * 96 + 48 * 16))
    assert least <= alone["flops"] <= 3 * least
    printed = capsys.readouterr().out
    assert "roofline estimate" in printed and "1e+09 FLOP/s" in printed
    assert (tmp_path / "scaling.png").exists()


def test_time_in_a_ring():
    """Rings of Thakur, Rabenseifner and Gropp 2005, passed around by hand."""
    n, parts = 4, 4
    # All-reduce: every part goes n - 1 hops to be summed, n - 1 more to be known.
    sent = (n - 1) * (1 / parts) + (n - 1) * (1 / parts)
    assert math.isclose(RING["all-reduce"](n), sent)
    assert math.isclose(RING["all-gather"](n) + RING["reduce-scatter"](n), sent)
    moved = {"all-reduce": Collective(2, 800), "collective-permute": Collective(1, 100)}
    assert math.isclose(ring_seconds(moved, n, 50.0), (1.5 * 800 + 100) / 50.0)
    assert ring_seconds({}, 1, 50.0) == 0.0


def test_checks_fail_where_they_must():
    study = plan(*parse(["vae", *SMALL, "--devices", "1", "2", "--batch-size", "16"]))
    memory = Memory(1, 1, 1, 1)

    def row(mode, devices, batch, loss, moved):
        found = {"all-reduce": Collective(1, moved)} if devices > 1 else {}
        cost = Cost(1.0, memory, 1.0, found, False)
        return Measured(Point(mode, devices, batch), cost, loss, 1.0, 1.0)

    def passed(loss, strong, weak):
        rows = [
            row("strong", 1, 16, 5.0, 0),
            row("strong", 2, 16, loss, strong),
            row("weak", 2, 32, 7.0, weak),
        ]
        return {each.name: each.passed for each in check(study, rows)}

    good = {"losses": True, "all-reduced bytes": True}
    assert passed(5.00004, PARAMETERS, PARAMETERS + 8) == good
    assert not passed(5.0001, PARAMETERS, PARAMETERS)["losses"]
    assert not passed(float("nan"), PARAMETERS, PARAMETERS)["losses"]
    # Of 16 bytes each are the 32 images of the larger batch, the 16 of the other one.
    allowed = PARAMETERS + checks.SLACK + 32 * 16
    assert passed(5.0, PARAMETERS, allowed) == good
    grows = allowed + 1
    assert not passed(5.0, PARAMETERS, grows)["all-reduced bytes"]
    much = 2 * PARAMETERS + checks.SLACK + 16 * 16 + 1
    assert not passed(5.0, much, much)["all-reduced bytes"]
    assert not passed(5.0, 0, 0)["all-reduced bytes"]


@pytest.mark.slow
def test_failed_check_is_the_exit_status(tmp_path):
    """Of the program, which simulates devices of its own."""
    start = (
        "from train.scaling import checks; checks.SLACK = -(10**9); "
        "from train.scaling.__main__ import main; main()"
    )
    options = ("--compile-only", "--devices", "3", "--out", str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-c", start, "vae", *SMALL, *options],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": "", "JAXAE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "check FAILED, all-reduced bytes" in done.stdout
    result = json.loads((tmp_path / "run" / "scaling.json").read_text())
    assert [row["devices"] for row in result["rows"]] == [1, 3]


@pytest.mark.parametrize("options", [(), ("--compile-only", "--mode", "both")])
def test_the_legends_cover_nothing_and_are_not_cut_off(options):
    study = plan(*parse(["vae", *SMALL, "--devices", "1", "4", *options]))
    cost = Cost(1.0, Memory(1, 1, 1, 1), 1.0, {}, False)
    rows = [
        Predicted(point, cost, 1.0, 0.5, 0.7, 1.0)
        if options
        else Measured(point, cost, 5.0, 1.0, 0.7)
        for point in study.points
    ]
    figure = draw(study, rows, "title")
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        legend = axes.get_legend()
        box, names = legend.get_window_extent(), [t.get_text() for t in legend.texts]
        assert box.y0 >= 0 and not box.overlaps(axes.get_window_extent())
        assert len(set(names)) == len(names) >= 3
        assert axes.get_xlabel() == "devices" and axes.get_ylabel()


def test_number_of_simulated_devices():
    assert parse(["vae"])[1].simulated is None
    assert parse(["vae", "--simulate", "3"])[1].simulated == 3
    options = ["--compile-only", "--devices", "4", "9", "2"]
    assert parse(["vae", *options])[1].simulated == 9


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(4467472), "4.47 MB"),
        (size(2.5e9), "2.5 GB"),
        (size(2.5e12), "2.5 TB"),
        (size(999_600), "1 MB"),
        (seconds(0.99961), "1 s"),
        (seconds(2e-9), "0.002 µs"),
        (seconds(0.0), "0 s"),
        (seconds(2.5e-6), "2.5 µs"),
        (seconds(0.0123), "12.3 ms"),
        (percent(0.034), "3.4%"),
        (percent(0.987), "99%"),
    ],
)
def test_words(words, expected):
    assert words == expected
