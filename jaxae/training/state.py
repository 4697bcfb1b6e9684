"""What training carries from step to step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from jaxae.training.batch import MODEL, OBJECTIVE, model_batch
from jaxae.types import Batch, Model, Params, Recipe, Variables


class TrainState(NamedTuple):
    """All of it is arrays: it goes through jit, vmap and a checkpoint as it is.

    Attributes:
        step: Steps done, the skipped ones too.
        key: The base of all randomness in training; never changes.
        params: {"model": ..., "objective": ...}.
        collections: What else the model keeps, such as batch statistics.
        opt_state: Of the optimizer over `params`.
        skipped_in_row: Latest updates in a row that were not finite, so not applied.
    """

    step: Int[Array, ""]
    key: jax.Array
    params: dict[str, Params]
    collections: Variables
    opt_state: PyTree
    skipped_in_row: Int[Array, ""]


def init_state(
    recipe: Recipe, tx: optax.GradientTransformation, batch: Batch, key: jax.Array
) -> TrainState:
    """A fresh state; only the shapes and dtypes of `batch` matter.

    Args:
        recipe: The family.
        tx: The optimizer.
        batch: As it is stored, of any size.
        key: A typed key. Weights, noise and data order all follow from it.
    """
    key_init, key_train = jax.random.split(key)
    inputs = model_batch(recipe, batch, key_init)
    trace, variables = recipe.model.init_with_output(
        {"params": jax.random.fold_in(key_init, MODEL)},
        inputs,
        key_init,
        num_samples=recipe.num_samples,
        train=True,
    )
    collections = {name: value for name, value in variables.items() if name != "params"}
    key_objective = jax.random.fold_in(key_init, OBJECTIVE)
    params = {
        "model": variables.get("params", {}),
        "objective": recipe.objective.init(key_objective, trace),
    }
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, key_train, params, collections, tx.init(params), zero)


def variables(state: TrainState) -> Variables:
    """The model's variables, as `recipe.model.apply` takes them."""
    return {"params": state.params["model"], **state.collections}


def trained_model(recipe: Recipe, state: TrainState) -> Model:
    """What `encode`, `sample` or `evaluate` work on."""
    return Model(recipe, variables(state))
