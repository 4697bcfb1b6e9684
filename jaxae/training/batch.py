"""From a stored batch to what the model sees."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.checks import check_kept
from jaxae.corruptions.base import damage, fill_in
from jaxae.errors import ensure
from jaxae.objectives.base import region_of
from jaxae.objectives.reconstruction import counted
from jaxae.preparation import Scale, as_seen, unit_interval
from jaxae.recipe import Recipe
from jaxae.types import Batch
from jaxae.values import expression

# What the key of a step is folded with: one purpose, one stream.
PREPARE, CORRUPT, MODEL, OBJECTIVE, SHUFFLE, DROPOUT, HOOKS, PART, DEVICE = range(9)


FILL = 0.0
"""What a missing value of x is set to, once x is prepared."""


def model_batch(recipe: Recipe, batch: Batch, key: jax.Array) -> Batch:
    """Prepares the target `x` and the damaged "inputs", with what is known of both.

    "mask", see `Batch`; "counted", which values of x the loss counts, where not all do;
    "filled", which of the inputs stand for missing ones, where any do.
    """
    target = recipe.prepare(jax.random.fold_in(key, PREPARE), batch["x"])
    by = expression(recipe.prepare)
    check_kept("the preparation", target, batch["x"], by)
    missing = batch.get("missing")
    if missing is not None:
        target = fill_in(target, missing, FILL)
    own = "inputs" in batch
    clean = target
    if own or isinstance(recipe.prepare, Scale):
        clean = prepare_inputs(recipe, key, batch["inputs" if own else "x"])
    filled = None if own else missing
    if filled is not None:
        clean = fill_in(clean, filled, FILL)
    inputs, mask = damage(recipe.corruption, jax.random.fold_in(key, CORRUPT), clean)
    if filled is not None:
        inputs = inputs if inputs is clean else fill_in(inputs, filled, FILL)
        mask = filled if mask is None else mask | filled
    region = region_of(recipe.objective)
    whole = "region must be 'all' where inputs have another shape than x"
    ensure(region == "all" or inputs.shape == target.shape, f"{whole}, got {region!r}")
    counts = counted(region, mask, missing)
    added = {"x": target, "inputs": inputs, "mask": mask}
    added |= {"counted": counts, "filled": filled}
    return {**batch, **{k: v for k, v in added.items() if v is not None}}


def like_few_of(data: Batch) -> dict[str, np.ndarray]:
    """Zeros in the form of a few examples, of which a model is initialised."""
    few = min(2, data["x"].shape[0])
    return {
        name: np.zeros((few, *values.shape[1:]), values.dtype)
        for name, values in data.items()
    }


def prepare_inputs(recipe: Recipe, key: jax.Array, values: Array) -> Array:
    """From stored inputs to what the encoder sees: as x, without its draws.

    Those of another shape than x are no x, which has a scale of its own.
    """
    return as_seen(
        recipe.prepare if recipe.module.sees_x else unit_interval, key, values
    )


def total_weight(batch: Batch) -> Float[Array, ""]:
    """The sum of the weights, which is the number of examples where there are none."""
    if "weight" in batch:
        return batch["weight"].sum()
    return jnp.asarray(batch["x"].shape[0], jnp.float32)
