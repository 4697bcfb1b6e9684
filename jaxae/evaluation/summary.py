"""All numbers of a trained model at once."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxae.checks import check_count
from jaxae.corruptions import identity
from jaxae.evaluation.examples import known_values
from jaxae.evaluation.latents import active_units, codebook_usage, posterior_means
from jaxae.evaluation.likelihood import elbo_terms, is_generative, nll_nats
from jaxae.evaluation.quality import reconstruction_quality
from jaxae.evaluation.sparsity import sparsity
from jaxae.inputs import abstract_batch, check_data, check_model
from jaxae.models.family import call
from jaxae.preparation import Scale
from jaxae.recipe import Model
from jaxae.types import Latent

NAMES = (
    "elbo_nats",
    "rate_nats",
    "distortion_nats",
    "nll_nats",
    "nll_samples",
    "bits_per_dim",
    "active_units",
    "mse",
    "psnr_db",
    "ssim",
    "psnr_damaged_db",
    "psnr_gain_db",
    "hole_mse",
    "hole_mse_mean_fill",
    "codebook_usage",
    "codebook_perplexity",
    "explained_variance",
    "l0",
    "dead_fraction",
)


def evaluate(
    model: Model,
    data: Any,
    key: jax.Array,
    *,
    nll_samples: int = 500,
    mean_fill: Any = None,
) -> dict[str, float | int | None]:
    """The means over the test data of everything that the family has.

    Args:
        model: A trained model.
        data: As for `fit`.
        key: A typed key; binarisation, damage and samples follow from it.
        nll_samples: Importance samples per example; 0 leaves the NLL out.
        mean_fill: See `reconstruction_quality`.

    Returns:
        A value for each of `NAMES`, None where the family has no such thing; so is
        `explained_variance` where the data do not vary. Nats are of an example;
        squared errors of a value as the model sees it, which a scale makes smaller or
        larger; `psnr_db` of values as they are stored, see `reconstruction_quality`, of
        scaled vectors `explained_variance` in its place.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> numbers = jaxae.evaluation.evaluate(model, x, key, nll_samples=10)
        >>> numbers['nll_nats'] > 0, numbers['hole_mse']
        (True, None)
    """
    check_model(model)
    check_count("nll_samples", nll_samples, least=0)
    numbers = dict.fromkeys(NAMES)
    sizes, weight = _sizes_and_weights(model, data)
    quality = reconstruction_quality(model, data, key, mean_fill=mean_fill)
    numbers |= _means(quality, weight)
    if is_generative(model.recipe):
        numbers |= _means(elbo_terms(model, data, key), weight)
        if _has_known_means(model):
            codes = posterior_means(model, data, key)
            numbers["active_units"] = active_units(codes, weight=weight)
    if is_generative(model.recipe) and nll_samples:
        each = nll_nats(model, data, key, num_samples=nll_samples)
        nll = _mean(np.asarray(each), weight)
        numbers |= {"nll_nats": nll, "nll_samples": nll_samples}
        size = _mean(sizes, weight)
        # A code length, which a density is not.
        if model.module.likelihood.support.is_discrete and nll is not None and size:
            numbers["bits_per_dim"] = nll / math.log(2) / size
    return numbers | _code_use(model, data, key)


def _has_known_means(model: Model) -> bool:
    """Whether `Latent.mean` is E[z | x]: not after a flow, nor given codes above."""
    latents = _latents(model)
    return len(latents) == 1 and latents[0].posterior is not None


def _latents(model: Model) -> tuple[Latent, ...]:
    """What the encoder makes, as shapes."""
    encode = partial(call, model.module, model.variables, method="encode")
    return jax.eval_shape(encode, abstract_batch(model.recipe), jax.random.key(0))


def _code_use(model: Model, data: Any, key: jax.Array) -> dict[str, Any]:
    """How a deterministic code is used; of sparse ones, how sparse they are.

    Of what is scaled, how much of it any code explains.
    """
    module = model.module
    if module.num_codes:
        return codebook_usage(model, data, key)
    drawn = module.generative or model.recipe.corruption is not identity
    scaled = isinstance(model.recipe.prepare, Scale)
    if len(_latents(model)) != 1 or (drawn and not scaled):
        return {}
    scores: dict[str, Any] = sparsity(model, data, key)
    # A code without a single zero is not meant to be sparse.
    sparse = scores["l0"] < scores.pop("num_latents") and not drawn
    return {k: v for k, v in scores.items() if sparse or k == "explained_variance"}


def _sizes_and_weights(model: Model, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """How many values of every example are known, and how often it counts.

    Not at all where nothing of it is known.
    """
    checked = check_data(model.recipe, data, "data")
    count = len(checked["x"])
    known = np.asarray(known_values(checked))
    sizes = known.sum(axis=tuple(range(1, known.ndim)))
    weight = np.asarray(checked.get("weight", np.ones(count)))
    return sizes, np.where(sizes > 0, weight, 0.0)


def _means(scores: Mapping[str, Any], weight: np.ndarray) -> dict[str, float | None]:
    """Over the examples; those from which nothing was removed have no hole to judge."""
    return {
        name: _mean(values, np.where(np.isnan(values), 0.0, weight))
        if "hole" in name
        else _mean(values, weight)
        for name, values in scores.items()
    }


def _mean(values: np.ndarray, weight: np.ndarray) -> float | None:
    counts = weight > 0
    if not counts.any():
        return None
    return float(np.average(values[counts], weights=weight[counts]))
