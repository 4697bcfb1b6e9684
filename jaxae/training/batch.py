"""From a stored batch to what the model sees."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.errors import ensure
from jaxae.recipe import Recipe
from jaxae.types import Batch

# What the key of a step is folded with: one purpose, one stream.
PREPARE, CORRUPT, MODEL, OBJECTIVE, SHUFFLE, DROPOUT, HOOKS, PART, DEVICE = range(9)


def model_batch(recipe: Recipe, batch: Batch, key: jax.Array) -> Batch:
    """Prepares `batch["x"]` as the target and adds the damaged "inputs" and "mask"."""
    target = recipe.prepare(jax.random.fold_in(key, PREPARE), batch["x"])
    _check_shape("the preparation", target, batch["x"])
    damaged = recipe.corruption(jax.random.fold_in(key, CORRUPT), target)
    pair = isinstance(damaged, tuple) and len(damaged) == 2
    kind = f"a value of type {type(damaged).__name__}"
    ensure(pair, f"a corruption must return (damaged x, mask or None), got {kind}")
    inputs, mask = damaged
    _check_shape("the corruption", inputs, target)
    if mask is not None:
        _check_mask(mask, target)
    added = {"x": target, "inputs": inputs} | ({} if mask is None else {"mask": mask})
    return {**batch, **added}


def _check_shape(part: str, x: Array, like: Array) -> None:
    came, expected = jnp.shape(x), like.shape
    ensure(came == expected, f"{part} must keep the shape of x, {expected}, got {came}")


def _check_mask(mask: Array, x: Array) -> None:
    shapes = (x.shape, (*x.shape[:-1], 1))
    ensure(
        mask.dtype == bool and mask.shape in shapes,
        f"the corruption's mask must be of bool and shape {shapes[0]} or {shapes[1]}, "
        f"got {mask.dtype} of {mask.shape}",
    )


def total_weight(batch: Batch) -> Float[Array, ""]:
    """The sum of the weights, which is the number of examples where there are none."""
    if "weight" in batch:
        return batch["weight"].sum()
    return jnp.asarray(batch["x"].shape[0], jnp.float32)
