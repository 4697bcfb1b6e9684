"""How a model uses its latent dimensions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.autoencoder import call
from jaxae.checks import check_data
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
