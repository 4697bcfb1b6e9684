"""How a model uses its latent dimensions or codes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.autoencoder import call
from jaxae.bottlenecks.codebook import perplexity
from jaxae.checks import check_data
from jaxae.errors import require
from jaxae.evaluation.examples import map_examples
from jaxae.types import Batch, Model, Recipe, Variables


def posterior_means(
    model: Model, images: Any, key: jax.Array, *, chunk: int = 250
) -> Float[np.ndarray, "n d"]:
    """The flat codes, without noise, of images as the model sees them in training.

    That is prepared (binarised) and damaged, by the key; `jaxae.encode` takes images as
    they are.
    """
    data = check_data(model.recipe, images, "images")
    return map_examples(_posterior_mean, model, data, key, chunk)


def _posterior_mean(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array
) -> Array:
    latents = call(recipe.model, variables, batch, key, method="encode")
    return jnp.concatenate([latent.mean[0].reshape(-1) for latent in latents])


def active_units(codes: Float[np.ndarray, "n d"], *, threshold: float = 0.01) -> int:
    """The dimensions whose posterior mean varies over the data.

    Burda et al. (2016), section 5.2: those with Var_x(E[z_j | x]) > 0.01.

    Args:
        codes: The means of q(z | x), see `posterior_means`.
        threshold: In squared units of z.
    """
    return int((np.var(np.asarray(codes), axis=0) > threshold).sum())


def codebook_usage(
    model: Model, images: Any, key: jax.Array, *, chunk: int = 250
) -> dict[str, float]:
    """How a discrete code is used over a data set.

    Args:
        model: A trained model whose codes are whole numbers.
        images: As for `fit`.
        key: A typed key, for recipes that binarise or damage the data.
        chunk: Examples at a time.

    Returns:
        `codebook_usage`: the share of the codes that occur; `codebook_perplexity`:
        exp of the entropy, in nats, of how often they do. Means over the codebooks.

    Raises:
        ValueError: The data are not as the model needs them, or the code is of real
            numbers.
    """
    module = model.recipe.model
    size, books = module.num_codes, module.num_codebooks
    require(size, "model", "one with real codes", "one with discrete codes")
    data = check_data(model.recipe, images, "images")
    codes = map_examples(_indices, model, data, key, chunk)
    columns = codes.reshape(-1, books).T
    counts = np.stack([np.bincount(column, minlength=size) for column in columns])
    return {
        "codebook_usage": float((counts > 0).mean()),
        "codebook_perplexity": float(
            perplexity(jnp.asarray(counts, jnp.float32)).mean()
        ),
    }


def _indices(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array
) -> Array:
    (latent,) = call(recipe.model, variables, batch, key, method="encode")
    return latent.indices[0]
