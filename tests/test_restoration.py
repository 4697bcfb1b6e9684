"""Photographs with shot noise: the U-Net against the filters of scikit-image."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import skimage

import jaxae
from jaxae import recipes
from train import apply
from train.__main__ import parse
from train.training import train

KEY = jax.random.key(0)
PHOTONS = 30
"""That the brightest pixel gets: the library has no such damage."""

LEARNED = (
    "astronaut.png",
    "brick.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
HELD_OUT = ("camera.png", "chelsea.png", "coffee.png")
SIDE, BATCH, STEPS, EPOCHS = 64, 8, 2000, 10


def picture(name):
    """Grey, in [0, 1]; of those that are part of scikit-image's wheel."""
    stored = skimage.io.imread(Path(skimage.__file__).parent / "data" / name)
    x = stored.astype(np.float32) / 255
    return x if x.ndim == 2 else x @ np.array([0.299, 0.587, 0.114], np.float32)


def shot_noise(rng, x):
    return (rng.poisson(PHOTONS * x) / PHOTONS).astype(np.float32)


def pairs(rng, pictures):
    """Batches of crops, turned and mirrored, clean and damaged afresh."""
    while True:
        crops = []
        for x in (pictures[i] for i in rng.integers(len(pictures), size=BATCH)):
            row, column = (rng.integers(n - SIDE + 1) for n in x.shape)
            crop = x[row : row + SIDE, column : column + SIDE]
            crop = np.rot90(crop, rng.integers(4))
            crops.append(crop if rng.random() < 0.5 else crop[::-1])
        clean = np.stack(crops)[..., None]
        yield {"x": clean, "inputs": shot_noise(rng, clean)}


def psnr(came, expected):
    error = np.square(np.clip(came, 0.0, 1.0) - expected).mean()
    return -10 * np.log10(error)


def stabilised(filtered):
    """With Anscombe's transform about it: noise of std 1/2 of its unit everywhere."""

    def restore(x):
        root = np.sqrt(PHOTONS * x + 3 / 8)
        return (np.square(filtered(root / scale) * scale) - 1 / 8) / PHOTONS

    scale = np.float32(np.sqrt(PHOTONS))
    return restore


def filters():
    """Non-local means and total variation with a grid of their settings, by name."""
    restoration = skimage.restoration
    variation = [
        partial(restoration.denoise_tv_chambolle, weight=weight)
        for weight in (0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
    ]
    means = [
        partial(
            restoration.denoise_nl_means,
            **{"h": h, "sigma": sigma, "patch_size": size, "patch_distance": distance},
        )
        for h in (0.05, 0.06, 0.08, 0.1, 0.12, 0.15)
        for sigma in (0.0, 0.09, 0.12)
        for size, distance in ((5, 6), (7, 11))
    ]
    return {
        name: [*each, *map(stabilised, each)]
        for name, each in (("total variation", variation), ("non-local means", means))
    }


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_photographs_with_shot_noise():
    """Three that it never saw; the filters have their best settings for each of them.

    16,000 crops, of which two cores see some 50 a second.
    """
    rng = np.random.default_rng(0)
    recipe = recipes.unet((SIDE, SIDE, 1))
    fitted = jaxae.fit(
        recipe,
        pairs(rng, [picture(name) for name in LEARNED]),
        key=KEY,
        epochs=EPOCHS,
        steps_per_epoch=STEPS // EPOCHS,
        tx=optax.adam(optax.cosine_decay_schedule(2e-3, STEPS)),
    )
    model = jaxae.training.trained_model(recipe, fitted.state)
    clean = [picture(name) for name in HELD_OUT]
    noisy = [shot_noise(rng, x) for x in clean]
    found = {
        "damaged": [psnr(*each) for each in zip(noisy, clean, strict=True)],
        "U-Net": [
            psnr(jaxae.repair_in_tiles(model, seen[None, ..., None])[0, ..., 0], x)
            for seen, x in zip(noisy, clean, strict=True)
        ],
    }
    compare(found, noisy, clean)


def compare(found, noisy, clean):
    """That ours is above the best filters of every picture; prints what all reach."""
    for name, settings in filters().items():
        found[name] = [
            max(psnr(restore(seen), x) for restore in settings)
            for seen, x in zip(noisy, clean, strict=True)
        ]
    for name, values in found.items():
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"{name}: {np.mean(values):.2f} dB ({each})")
    ours = np.array(found["U-Net"])
    assert (ours > found["total variation"]).all()
    assert (ours > found["non-local means"]).all()


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_photographs_with_shot_noise_by_the_command_line(tmp_path):
    """Pairs in two files, 4,000 crops to learn from; then whole pictures."""
    rng = np.random.default_rng(0)
    batches = pairs(rng, [picture(name) for name in LEARNED])
    drawn = [next(batches) for _ in range(625)]
    for name in ("x", "inputs"):
        np.save(
            tmp_path / f"{name}.npy", np.concatenate([each[name] for each in drawn])
        )
    words = ["unet", "--data", str(tmp_path / "x.npy"), "--epochs", "4"]
    words += ["--inputs", str(tmp_path / "inputs.npy"), "--batch-size", str(BATCH)]
    words += ["--model.corruption", "identity"]
    run, restored = tmp_path / "run", []
    preset, config = parse(
        [*words, "--out", str(run), "--optimizer.learning-rate=2e-3"]
    )
    train(run, preset, config)
    clean = [picture(name) for name in HELD_OUT]
    noisy = [shot_noise(rng, x) for x in clean]
    for name, seen in zip(HELD_OUT, noisy, strict=True):
        seen_file, out = (tmp_path / f"{name}.{kind}.npy" for kind in ("seen", "out"))
        np.save(seen_file, seen[None, ..., None])
        apply.apply(apply.Arguments(run, seen_file, task="repair", out=out))
        restored.append(np.load(out)[0, ..., 0])
    ours = [psnr(*each) for each in zip(restored, clean, strict=True)]
    compare({"U-Net": ours}, noisy, clean)
