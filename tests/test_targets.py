"""What the presets reach on MNIST, at their defaults: minutes each."""

import json

import pytest

from train.__main__ import parse
from train.training import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("optimized")]


def result_of(preset, tmp_path):
    # On one device: these tests' eight are the cores of one.
    _, config = parse([preset, "--parallel", "none"])
    run = train(tmp_path / preset, preset, config)
    return json.loads(run.result.read_text())


def test_vae_log_likelihood(tmp_path):
    result = result_of("vae", tmp_path)
    assert result["nll_samples"] >= 500
    assert result["nll_nats"] <= 92.0


def test_denoising_gains_six_decibels(tmp_path):
    assert result_of("dae", tmp_path)["psnr_gain_db"] >= 6


def test_inpainting_halves_the_error_of_the_pixel_means(tmp_path):
    result = result_of("inpaint", tmp_path)
    assert result["hole_mse"] <= result["hole_mse_mean_fill"] / 2
