"""From a stored batch to what the model sees."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxae.corruptions import fill_in
from jaxae.errors import ensure
from jaxae.objectives.base import region_of
from jaxae.objectives.reconstruction import counted
from jaxae.preparation import Scale, as_seen, unit_interval
from jaxae.recipe import Recipe
from jaxae.types import Batch

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
    _check_shape("the preparation", target, batch["x"])
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
    inputs, mask = _damaged(recipe, jax.random.fold_in(key, CORRUPT), clean)
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


def prepare_inputs(recipe: Recipe, key: jax.Array, values: Array) -> Array:
    """From stored inputs to what the encoder sees: as x, without its draws.

    Those of another shape than x are no x, which has a scale of its own.
    """
    return as_seen(
        recipe.prepare if recipe.module.sees_x else unit_interval, key, values
    )


def _damaged(
    recipe: Recipe, key: jax.Array, clean: Array
) -> tuple[Array, Bool[Array, "b ..."] | None]:
    damaged = recipe.corruption(key, clean)
    pair = isinstance(damaged, tuple) and len(damaged) == 2
    kind = f"a value of type {type(damaged).__name__}"
    ensure(pair, f"a corruption must return (damaged x, mask or None), got {kind}")
    inputs, mask = damaged
    _check_shape("the corruption", inputs, clean)
    if mask is not None:
        _check_mask(mask, clean)
    return inputs, mask


def _check_shape(part: str, x: Array, like: Array) -> None:
    came, expected = jnp.shape(x), like.shape
    ensure(came == expected, f"{part} must keep the shape of x, {expected}, got {came}")


def _check_mask(mask: Array, x: Array) -> None:
    shapes = tuple(dict.fromkeys((x.shape, (*x.shape[:-1], 1))))
    expected = " or ".join(map(str, shapes))
    ensure(
        mask.dtype == bool and mask.shape in shapes,
        f"the corruption's mask must be of bool and shape {expected}, "
        f"got {mask.dtype} of {mask.shape}",
    )


def total_weight(batch: Batch) -> Float[Array, ""]:
    """The sum of the weights, which is the number of examples where there are none."""
    if "weight" in batch:
        return batch["weight"].sum()
    return jnp.asarray(batch["x"].shape[0], jnp.float32)
