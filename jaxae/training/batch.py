"""From a stored batch to what the model sees."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.types import Batch, Recipe

# What the key of a step is folded with: one purpose, one stream.
PREPARE, CORRUPT, MODEL, OBJECTIVE, SHUFFLE, DROPOUT, HOOKS, PART, DEVICE = range(9)


def model_batch(recipe: Recipe, batch: Batch, key: jax.Array) -> Batch:
    """Prepares `batch["x"]` as the target and adds the damaged "inputs" and "mask"."""
    target = recipe.prepare(jax.random.fold_in(key, PREPARE), batch["x"])
    inputs, mask = recipe.corruption(jax.random.fold_in(key, CORRUPT), target)
    added = {"x": target, "inputs": inputs} | ({} if mask is None else {"mask": mask})
    return {**batch, **added}


def total_weight(batch: Batch) -> Float[Array, ""]:
    """The sum of the weights, which is the number of examples where there are none."""
    if "weight" in batch:
        return batch["weight"].sum()
    return jnp.asarray(batch["x"].shape[0], jnp.float32)
