"""The pictures of a run: what training and the model did, each with its caption."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

import jaxae
from jaxae import plotting
from jaxae.corruptions import identity
from jaxae.evaluation import psnr_db
from jaxae.evaluation.quality import hole_of, mean_squared_error, repaired
from jaxae.inputs import on_device
from jaxae.training.batch import model_batch
from train.data.types import Split
from train.examples import examples, seen, shown_beside
from train.report.parts import part_pictures
from train.report.picture import MAX_CODES, SIDE, Picture, encoded

MAX_CODE_VALUES = 2**23  # in memory for the scatter plot
_GAPS = " What is not known of an image is black there, and counts nowhere."

_model_batch = jax.jit(model_batch, static_argnums=0)
_repaired = jax.jit(repaired, static_argnums=0)


def make_pictures(
    model: jaxae.Model,
    test: Split,
    history: Sequence[Mapping[str, Any]],
    key: jax.Array,
    generated: Mapping[str, np.ndarray],
) -> Iterator[Picture]:
    """Those that the family and the data allow, one after the other.

    Arguments as of `write_report`.
    """
    key_damage, key_sample = jax.random.split(key)
    recipe = model.recipe
    yield _curves(history)
    if len(recipe.module.shape) == 3:
        fields = examples(recipe, test.head(SIDE))
        batch = {name: on_device(values) for name, values in fields.items()}
        batch = _model_batch(recipe, batch, key_damage)
        pairs = "inputs" in fields and recipe.module.sees_x
        if pairs or recipe.corruption is not identity:
            yield _restorations(model, batch, key_damage, pairs=pairs)
        if not pairs:
            yield _reconstructions(model, batch["x"], test)
        if recipe.module.has_prior:
            yield _samples(model, test, key_sample)
        for name, images in generated.items():
            if name != "prior":
                yield _generated(name, images)
        blind = not recipe.module.view.needs and not recipe.module.num_codes
        # An encoder that fills holes was never shown an image without one: what lies
        # between two such codes says nothing of the model. Nor is there anything
        # between whole numbers, or between two labels.
        if len(test.images) > 1 and blind and test.missing is None:
            yield _interpolations(model, seen(recipe, test)["x"])
    yield from part_pictures(model, test)
    yield from _codes(model, test)


def _curves(history: Sequence[Mapping[str, Any]]) -> Picture:
    caption = (
        "What training minimises, in nats per example; lower is better. The value for "
        "training is the mean over the epoch, while the weights still change; that for "
        "validation is computed after the epoch, on examples the weights never "
        "saw, with scheduled weights as at the end."
    )
    return Picture(
        "learning_curves", "Learning curves", caption, plotting.learning_curves(history)
    )


def _reconstructions(model: jaxae.Model, x: Array, test: Split) -> Picture:
    shown = seen(model.recipe, test, SIDE)
    caption = (
        f"The first {len(x)} images of the test set, undamaged and as the model is to "
        "explain them (upper row), and what "
    )
    if test.inputs is None:
        shown["x"] = x
        caption += "is left of them after the code (lower row): the mean of p(x | z)."
    else:
        caption += "it makes of their inputs (lower row): the mean of p(x | z)."
    if test.missing is not None:
        caption += _GAPS
    elif "mask" in model.module.view.needs:
        caption += " The model was trained to fill holes; here it is shown none."
    figure = plotting.image_pairs(x, jaxae.reconstruct(model, **shown))
    return Picture("reconstructions", "Reconstructions", caption, figure)


def _samples(model: jaxae.Model, test: Split, key: jax.Array) -> Picture:
    caption = (
        "New images: codes drawn from the prior p(z), none of which comes from an "
        "image, then the mean of p(x | z). They are as they were drawn, not chosen."
    )
    num_labels = model.module.view.num_labels
    beside = shown_beside(model.recipe, test, SIDE**2)
    if num_labels:
        caption += " Every row has a label of its own, which the decoder is shown."
        beside["label"] = np.arange(SIDE**2) // SIDE % num_labels
    if others := sorted(beside.keys() - {"label"}):
        caption += f" {', '.join(others)}: those of the first test examples."
    images = jaxae.sample(model, key, SIDE**2, **beside)
    figure = plotting.image_grid(images, SIDE)
    return Picture("samples", "Samples from the prior", caption, figure)


def _generated(name: str, images: np.ndarray) -> Picture:
    words = name.replace("_", " ")
    caption = (
        f"New images: codes drawn from a sampler ({words}) that was fitted to the "
        "codes of the training images, then the mean of p(x | z). Not chosen."
    )
    figure = plotting.image_grid(images[: SIDE**2], SIDE)
    return Picture(f"samples_{name}", f"Samples: {words}", caption, figure)


def _interpolations(model: jaxae.Model, images: np.ndarray) -> Picture:
    caption = (
        "Every row walks in equal steps on a straight line from the code of one test "
        "image to that of another. In a well-shaped latent space all images on the way "
        "look real."
    )
    count = min(SIDE, len(images) // 2)
    start, end = images[:count], images[count : 2 * count]
    figure = plotting.walk(jaxae.interpolate(model, start, end, steps=SIDE))
    return Picture("interpolations", "Walks through the latent space", caption, figure)


def _restorations(
    model: jaxae.Model, batch: Mapping[str, Array], key: jax.Array, *, pairs: bool
) -> Picture:
    recipe, variables = model.recipe, model.variables
    target, damaged, mask = batch["x"], batch["inputs"], batch.get("mask")
    missing, hole = batch.get("missing"), hole_of(recipe, batch)
    clean = _repaired(recipe, variables, batch, key)
    how = "as their inputs show them" if pairs else "damaged as in training"
    caption = (
        f"Test images, {how} (upper row), what the model makes of them (middle row), "
        "and the undamaged images, which it did not see (lower row). "
    )
    if hole is None:
        caption += "PSNR is the peak signal-to-noise ratio; higher is better."
        known = None if missing is None else ~missing
        scores = {
            "PSNR damaged, dB": psnr_db(damaged, target, where=known),
            "PSNR restored, dB": psnr_db(clean, target, where=known),
        }
    else:
        caption += (
            "The removed pixels are orange; only they are the model's. The squared "
            "error is the mean over them; lower is better."
        )
        scores = {
            "squared error, damaged": mean_squared_error(damaged, target, hole),
            "squared error, restored": mean_squared_error(clean, target, hole),
        }
    caption += _GAPS * (missing is not None)
    figure = plotting.restoration_grid(damaged, clean, target, scores, mask=mask)
    return Picture("restorations", "Restorations", caption, figure)


def _codes(model: jaxae.Model, test: Split) -> Iterator[Picture]:
    if model.module.num_codes:
        return
    size = flat_codes(model, test, SIDE).shape[1]
    count = min(len(test.images), MAX_CODES, max(1, MAX_CODE_VALUES // size))
    codes = flat_codes(model, test, count)
    labels = _colourable(test.labels, count)
    shown = {1: "a histogram", 2: "in the plane"}.get(
        size, "by their first two principal components"
    )
    caption = f"The codes of {count:,} test examples, {shown}. " + (
        _colours(model)
        if labels is not None
        else "Clusters are kinds of examples that the model tells apart."
    )
    figure = plotting.code_scatter(codes, labels)
    yield Picture("codes", "The latent space", caption, figure)
    plane = size == 2 and len(model.module.shape) == 3
    if plane and not model.module.view.needs:
        yield _plane(model, codes)


def _colourable(labels: np.ndarray | None, count: int) -> np.ndarray | None:
    """Labels that a plot can show: real numbers, or a few kinds of anything."""
    if labels is None or labels.ndim > 1:
        return None
    labels = labels[:count]
    if labels.dtype.kind in "biuf":
        return labels if np.isfinite(labels).all() else None
    return labels if len(np.unique(labels)) <= plotting.MAX_CLASSES else None


def _colours(model: jaxae.Model) -> str:
    if "label" in model.module.view.needs:
        return "The colours are the labels, which the model is shown beside the code."
    return (
        "The colours are the labels, which the model was never told: classes that lie "
        "apart were found without them."
    )


def flat_codes(model: jaxae.Model, test: Split, count: int) -> np.ndarray:
    """The codes of the first images, [n, d]; of several latents side by side."""
    codes = jax.tree.leaves(encoded(model, test, count))
    return np.concatenate([np.asarray(c).reshape(len(c), -1) for c in codes], axis=1)


def _plane(model: jaxae.Model, codes: np.ndarray) -> Picture:
    caption = (
        "The same plane from the other side: the image that every code stands for, "
        "over the range of 98 % of the test examples along each axis."
    )
    figure = plotting.latent_plane(lambda z: jaxae.decode(model, z), codes)
    return Picture("latent_plane", "Decoded latent plane", caption, figure)
