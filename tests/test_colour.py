"""Photographs in colour: the convolutional presets against principal components."""

import math
from inspect import Parameter, isfunction, signature
from pathlib import Path

import jax
import numpy as np
import pytest
import skimage
from sklearn.decomposition import PCA

import jaxae
from jaxae import likelihoods, recipes
from train.options import Plan
from train.presets import PRESETS

LEARNED = (
    "astronaut.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
HELD_OUT = ("chelsea.png", "coffee.png")
SHAPE = (64, 64, 3)
EPOCHS = 10
PATCHES = 10_000
"""What two cores see ten times in a quarter of an hour, with the slowest of them."""
FITTED = 8000
"""Patches that the components are of; half as many lose 0.2 dB of 224 components."""
BITS = 8
"""Of a component, where the code is counted in bits."""


# What a family takes for p(x | z) unless it is told


def leaves_it_open(name):
    family = getattr(recipes, name)
    parameters = signature(family).parameters if isfunction(family) else {}
    likelihood = parameters.get("likelihood")
    return "shape" in parameters and likelihood and likelihood.default is None


OPEN = [name for name in sorted(vars(recipes)) if leaves_it_open(name)]


def test_the_variational_families_leave_it_open():
    assert {"vae", "iwae", "ladder_vae", "conditional_vae", "vamp_vae"} < set(OPEN)


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8, 1), (8, 8, 4)])
def test_colours_have_a_gaussian_of_the_best_width(name, shape):
    family = getattr(recipes, name)
    needed = {
        each.name: 2
        for each in signature(family).parameters.values()
        if each.default is Parameter.empty and each.name in ("num_labels", "data_size")
    }
    found = family(shape, **needed).module.likelihood
    best = likelihoods.Gaussian("optimal")
    assert found == (best if shape[-1] == 3 else likelihoods.Bernoulli())


# What the presets reach


def picture(name):
    return skimage.io.imread(Path(skimage.__file__).parent / "data" / name)


def patches(count):
    """Random ones, turned and mirrored, to learn from; all those of the others."""
    rng = np.random.default_rng(0)
    pictures = [picture(name) for name in LEARNED]
    learned = np.empty((count, *SHAPE), np.uint8)
    side = SHAPE[0]
    for i, which in enumerate(rng.integers(len(pictures), size=count)):
        x = pictures[which]
        row, column = (rng.integers(n - side + 1) for n in x.shape[:2])
        crop = x[row : row + side, column : column + side]
        crop = np.rot90(crop, rng.integers(4))
        learned[i] = crop if rng.random() < 0.5 else crop[::-1]
    held_out = [
        x[row : row + side, column : column + side]
        for x in map(picture, HELD_OUT)
        for row in range(0, x.shape[0] - side + 1, side)
        for column in range(0, x.shape[1] - side + 1, side)
    ]
    return learned, np.stack(held_out)


def levels(x):
    return x.reshape(len(x), -1).astype(np.float32) / 255


def psnr(came, expected):
    error = np.square(np.clip(came, 0.0, 1.0) - expected).mean()
    return -10 * np.log10(error)


def by_components(learned, x, count, bits):
    """x from its principal components; in so many bits each, from least to largest."""
    rows = levels(learned[:FITTED])
    pca = PCA(count, svd_solver="randomized", random_state=0)
    codes, found = pca.fit_transform(rows), pca.transform(x)
    if bits:
        low, high = codes.min(axis=0), codes.max(axis=0)
        steps = (high - low) / (2**bits - 1)
        found = np.round((found.clip(low, high) - low) / steps) * steps + low
    return pca.inverse_transform(found)


def size_of_code(model, x):
    """How many numbers there are in a code; or bits, with bits in place of numbers."""
    code, bottleneck = jaxae.encode(model, x), model.module.bottleneck
    if not bottleneck.num_codes:
        return code.shape[-1], None
    return math.prod(code.shape[1:]) * math.log2(bottleneck.num_codes), BITS


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("name", ["conv-ae", "conv-vae", "vqvae"])
def test_presets_against_principal_components(name):
    """Of pictures that neither has seen, with a code of the same size."""
    learned, held_out = patches(PATCHES)
    config = PRESETS[name].config()
    assert config.epochs == EPOCHS
    steps = math.ceil(len(learned) / config.batch_size)
    fitted = jaxae.fit(
        config.model.recipe(SHAPE, Plan(len(learned), steps)),
        learned,
        key=jax.random.key(config.seed),
        epochs=config.epochs,
        batch_size=config.batch_size,
        tx=config.optimizer.transformation(config.epochs * steps),
    )
    model = jaxae.training.trained_model(fitted.model.recipe, fitted.state)
    x = levels(held_out)
    size, bits = size_of_code(model, held_out[:1])
    components = by_components(learned, x, round(size / (bits or 1)), bits)
    ours = psnr(np.asarray(jaxae.reconstruct(model, held_out)).reshape(x.shape), x)
    theirs = psnr(components, x)
    print(f"{name}: {ours:.2f} dB, components with a code of {size:g}: {theirs:.2f} dB")
    assert ours >= theirs
