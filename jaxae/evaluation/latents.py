"""How a model uses its latent dimensions or codes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.bottlenecks.codebook import perplexity
from jaxae.errors import ensure
from jaxae.evaluation.examples import map_examples
from jaxae.inputs import check_data, check_model
from jaxae.models.family import call
from jaxae.recipe import Model, Recipe
from jaxae.types import AnyArray, Batch, Variables


def posterior_means(
    model: Model, data: Any, key: jax.Array, *, chunk: int = 250
) -> Float[AnyArray, "n d"]:
    """The flat codes, without noise, of examples as the model sees them in training.

    That is prepared (binarised) and damaged, by the key; `jaxae.encode` takes them as
    they are.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.init(recipe, key)  # or `fit(...).model`
        >>> jaxae.evaluation.posterior_means(model, x, key).shape
        (20, 2)
    """
    check_model(model)
    data = check_data(model.recipe, data, "data")
    return map_examples(_posterior_mean, model, data, key, chunk)


def _posterior_mean(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array
) -> Array:
    latents = call(recipe.module, variables, batch, key, method="encode")
    return jnp.concatenate([latent.mean[0].reshape(-1) for latent in latents])


def active_units(
    codes: Float[AnyArray, "n d"],
    *,
    threshold: float = 0.01,
    weight: Float[AnyArray, " n"] | None = None,
) -> int:
    """The dimensions whose posterior mean varies over the data.

    Burda et al. (2016), section 5.2: those with Var_x(E[z_j | x]) > 0.01.

    Args:
        codes: The means of q(z | x), see `posterior_means`.
        threshold: In squared units of z.
        weight: How often each example counts; None for once.

    Example:
        >>> import numpy as np, jaxae
        >>> jaxae.evaluation.active_units(np.array([[0.1, 3.0], [0.1, -1.0]]))
        1
    """
    codes = np.asarray(codes)
    weight = None if weight is None or not np.any(weight) else weight
    offsets = codes - np.average(codes, axis=0, weights=weight)
    variance = np.average(offsets**2, axis=0, weights=weight)
    return int((variance > threshold).sum())


def codebook_usage(
    model: Model, data: Any, key: jax.Array, *, chunk: int = 250
) -> dict[str, float]:
    """How a discrete code is used over a data set.

    Args:
        model: A trained model whose codes are whole numbers.
        data: As for `fit`.
        key: A typed key, for recipes that binarise or damage the data.
        chunk: Examples at a time.

    Returns:
        `codebook_usage`: the share of the codes that occur; `codebook_perplexity`:
        exp of the entropy, in nats, of how often they do. Means over the codebooks;
        an example counts by its weight.

    Raises:
        ValueError: The data are not as the model needs them, or the code is of real
            numbers.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4), np.float32)
        >>> recipe = jaxae.recipes.lfq_autoencoder((4,), 3, network="mlp")
        >>> model = jaxae.init(recipe, jax.random.key(0))  # or `fit(...).model`
        >>> usage = jaxae.evaluation.codebook_usage(model, x, jax.random.key(1))
        >>> sorted(usage)
        ['codebook_perplexity', 'codebook_usage']
    """
    check_model(model)
    module = model.module
    size, books = module.num_codes, module.num_codebooks
    ensure(size > 0, "model must be one with discrete codes, these are real numbers")
    data = check_data(model.recipe, data, "data")
    codes = map_examples(_indices, model, data, key, chunk)
    columns = codes.reshape(-1, books).T
    weight = np.asarray(data.get("weight", np.ones(len(codes))))
    weight = np.repeat(weight, columns.shape[1] // len(codes))
    counts = np.stack([np.bincount(own, weight, minlength=size) for own in columns])
    return {
        "codebook_usage": float((counts > 0).mean()),
        "codebook_perplexity": float(
            jax.jit(perplexity)(counts.astype(np.float32)).mean()
        ),
    }


def _indices(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array
) -> Array:
    (latent,) = call(recipe.module, variables, batch, key, method="encode")
    return latent.indices[0]
