"""What a run was, and what came of it, in words."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import jaxae
from train.data.types import Split
from train.report.picture import SIDE
from train.report.pictures import flat_codes

# Of every known number: its name, its unit, how to read it.
_KNOWN = {
    "elbo_nats": (
        "evidence lower bound (ELBO)",
        "nats per example",
        "higher is better",
    ),
    "rate_nats": (
        "rate, KL(q(z | x) || p(z))",
        "nats per example",
        "what the code costs",
    ),
    "distortion_nats": (
        "distortion, −log p(x | z)",
        "nats per example",
        "what the code leaves unsaid",
    ),
    "nll_nats": ("negative log-likelihood", "nats per example", "lower is better"),
    "nll_samples": ("importance samples for it", "per example", ""),
    "bits_per_dim": ("negative log-likelihood", "bits per value", "lower is better"),
    "active_units": ("active latent dimensions", "", "whose mean varies by over 0.01"),
    "mse": ("squared error", "per value, of [0, 1] or scaled", "lower is better"),
    "psnr_db": ("peak signal-to-noise ratio", "dB", "higher is better"),
    "ssim": ("structural similarity", "at most 1", "higher is better"),
    "psnr_damaged_db": ("PSNR of the damaged images", "dB", "before restoration"),
    "psnr_gain_db": ("PSNR gained", "dB", "higher is better"),
    "hole_mse": ("squared error in the holes", "per value", "lower is better"),
    "hole_mse_mean_fill": (
        "the same, filled with the mean image",
        "per value",
        "the score to beat",
    ),
    "codebook_usage": ("codes in use", "share of all", "higher is better"),
    "codebook_perplexity": (
        "perplexity of the codes",
        "",
        "as many codes used alike say as much",
    ),
    "explained_variance": ("explained variance", "at most 1", "higher is better"),
    "l0": ("active latents", "per example", ""),
    "dead_fraction": ("dead latents", "share of all", "lower is better"),
    "frechet_space": ("feature space of the Fréchet distances", "", ""),
    "validation_loss": ("validation loss", "nats per example", "of the best epoch"),
    "best_epoch": ("best epoch", "", "counted from 1"),
    "train_seconds": ("training time", "seconds", "without validation"),
    "examples_per_second": ("training speed", "examples per second", ""),
}
_UNITS = {"nats": "nats per example", "db": "dB", "seconds": "seconds"}


def title(model: jaxae.Model, config: Mapping[str, Any]) -> str:
    """The family, and the data if the configuration names them."""
    family = model.recipe.title
    family = family[0].upper() + family[1:]
    return f"{family} on {config['data']}" if "data" in config else family


def summary(
    model: jaxae.Model,
    test: Split,
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    place: str | None = None,
) -> str:
    """One paragraph: the model, its data, its training and what was measured on.

    That is the test set, or what is in another place.
    """
    parameters = sum(p.size for p in jax.tree.leaves(model.variables["params"]))
    family = model.recipe.title
    article = "An" if family[0] in "aeiou" else "A"
    source = f" on {config['data']} ({_shape(model)})" if "data" in config else ""
    seconds = sum(row.get("seconds") or 0.0 for row in history)
    epochs = f"{len(history)} epoch" + "s" * (len(history) != 1)
    return (
        f"{article} {family} with {parameters:,} parameters, trained{source} for "
        f"{epochs}" + f", in {seconds:,.3g} seconds" * (seconds > 0) + ". "
        f"{_code_in_words(model, test)} {_progress(history)} The numbers and pictures "
        f"below are of {_measured_on(len(test.images), place)}."
    )


def _measured_on(count: int, place: str | None) -> str:
    if place is None:
        return f"the test set: {count:,} examples that had no part in training"
    return f"{count:,} examples in {place}"


def _shape(model: jaxae.Model) -> str:
    shape = model.module.shape
    if len(shape) != 3:
        return f"vectors of {shape[0]:,} values"
    channels = {1: "grey", 3: "RGB"}.get(shape[2], f"{shape[2]}-channel")
    return f"{channels} images of {shape[0]}×{shape[1]} pixels"


def _code_in_words(model: jaxae.Model, test: Split) -> str:
    module = model.module
    size = flat_codes(model, test, SIDE).shape[1]
    kind = "whole number" if module.num_codes else "number"
    likelihood = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(module.likelihood).__name__)
    return (
        f"Its code of {size:,} {kind}{'s' * (size != 1)} stands for the "
        f"{int(np.prod(module.shape)):,} values of an example; what the decoder says "
        f"of them, p(x | z), is {likelihood}."
    )


def _progress(history: Sequence[Mapping[str, Any]]) -> str:
    first, last = history[0]["loss"], history[-1]["loss"]
    text = f"The training loss went from {number(first)} to {number(last)} nats"
    known = [row for row in history if row.get("validation_loss") is not None]
    if not known:
        return f"{text}."
    best = min(known, key=lambda row: row["validation_loss"])
    lowest, epoch = number(best["validation_loss"]), best["epoch"]
    return (
        f"{text}; the validation loss was lowest, {lowest} nats, after epoch {epoch}."
    )


def explain(name: str) -> tuple[str, str]:
    """The name of a result in words, and how to read it: its unit, what is better."""
    if name.startswith("frechet_") and name not in _KNOWN:
        label = f"Fréchet distance, {name.removeprefix('frechet_').replace('_', ' ')}"
        return label, "in the feature space; lower is better; not Inception's FID"
    unit = _UNITS.get(name.rsplit("_", 1)[-1], "")
    label, unit, note = _KNOWN.get(name, (name.replace("_", " "), unit, ""))
    return label, "; ".join(filter(None, (unit, note)))


def number(value: Any) -> str:
    """Five digits, or all before the decimal point; no exponent unless tiny."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return setting(value)
    if isinstance(value, int) or 1e4 <= abs(value) < float("inf"):
        return f"{value:,.0f}"
    return f"{value:.5g}"


def setting(value: Any) -> str:
    """Anything that a configuration or a result may hold."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value)) or "–"
    return str(value)
