"""A fresh train state, and the model in a state."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxae.objectives.base import each_its_own
from jaxae.recipe import Model, Recipe
from jaxae.training.batch import DROPOUT, MODEL, OBJECTIVE, model_batch
from jaxae.types import Trace, TrainState, Variables


def init_state(
    recipe: Recipe,
    tx: optax.GradientTransformation,
    batch: Mapping[str, ArrayLike],
    key: jax.Array,
) -> TrainState:
    """A fresh state; only the shapes and dtypes of `batch` matter.

    Args:
        recipe: The family.
        tx: The optimizer.
        batch: As it is stored, of any size.
        key: A typed key. Weights, noise and data order all follow from it.
    """
    key_init, key_train = jax.random.split(key)
    trace, variables = _init_variables(recipe, batch, key_init)
    collections = {name: value for name, value in variables.items() if name != "params"}
    key_objective = jax.random.fold_in(key_init, OBJECTIVE)
    params = {
        "model": variables.get("params", {}),
        "objective": recipe.objective.init(key_objective, trace),
    }
    opt_state = optimizer(recipe, tx).init(params)
    # Two arrays: a state whose leaves share a buffer cannot be donated.
    step, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return TrainState(step, key_train, params, collections, opt_state, skipped)


def _init_variables(
    recipe: Recipe, batch: Mapping[str, ArrayLike], key: jax.Array
) -> tuple[Trace, Variables]:
    arrays = {name: jnp.asarray(values) for name, values in batch.items()}
    return recipe.module.init_with_output(
        {
            "params": jax.random.fold_in(key, MODEL),
            "dropout": jax.random.fold_in(key, DROPOUT),
        },
        model_batch(recipe, arrays, key),
        key,
        num_samples=recipe.num_samples,
        train=True,
    )


def optimizer(
    recipe: Recipe, tx: optax.GradientTransformation
) -> optax.GradientTransformation:
    """`tx`, beside which the objective may have an optimizer for its own parameters."""
    own = recipe.objective.tx(tx)
    return tx if own is None else each_its_own({"model": tx, "objective": own})


def variables(state: TrainState) -> Variables:
    """The model's variables, as `recipe.module.apply` takes them."""
    return {"params": state.params["model"], **state.collections}


def trained_model(recipe: Recipe, state: TrainState) -> Model:
    """What `encode`, `sample` or `evaluate` work on."""
    return Model(recipe, variables(state))


def abstract_batch(recipe: Recipe) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a batch of two examples."""
    return {
        "x": jax.ShapeDtypeStruct((2, *recipe.module.shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }


def abstract_variables(recipe: Recipe) -> Any:
    """Shapes and dtypes of the variables of a model."""
    return jax.eval_shape(
        lambda batch, key: _init_variables(recipe, batch, key)[1],
        abstract_batch(recipe),
        jax.random.key(0),
    )


def by_name(variables: Any) -> dict[str, Any]:
    """The arrays of a model, with names such as "params/encoder/Dense_0/kernel"."""
    flat, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in flat
    }
