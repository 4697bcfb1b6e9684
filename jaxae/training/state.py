"""A fresh train state, and the model in a state."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxae.inputs import check_recipe
from jaxae.objectives.base import each_its_own, optimizer_of, params_of
from jaxae.recipe import Model, Recipe
from jaxae.training.averaging import params_in_use
from jaxae.training.batch import OBJECTIVE
from jaxae.training.initial import init_variables
from jaxae.training.start import started
from jaxae.types import TrainState, Variables


def init_state(
    recipe: Recipe,
    tx: optax.GradientTransformation,
    batch: Mapping[str, ArrayLike],
    key: jax.Array,
    start: Variables | None = None,
) -> TrainState:
    """A fresh state; only the shapes and dtypes of `batch` matter.

    Args:
        recipe: The family.
        tx: The optimizer.
        batch: As it is stored, of any size.
        key: A typed key. Weights, noise and data order all follow from it.
        start: Another model's variables, to begin with as far as they fit by name and
            shape; see `jaxae.training.start`.

    Raises:
        ValueError: It is no recipe, or programs cannot be compiled for it.

    Example:
        >>> import jax, numpy as np, optax, jaxae
        >>> recipe = jaxae.recipes.autoencoder((6,), latent_dim=2)
        >>> batch = {"x": np.zeros((1, 6), np.float32)}
        >>> tx, key = optax.sgd(0.1), jax.random.key(0)
        >>> new = lambda key: jaxae.training.init_state(recipe, tx, batch, key)
        >>> state = jax.eval_shape(new, key)  # of shapes alone; or jax.jit(new)(key)
        >>> sorted(state.params)
        ['model', 'objective']
    """
    check_recipe(recipe)
    key_init, key_train = jax.random.split(key)
    trace, variables = init_variables(recipe, batch, key_init)
    if start is not None:
        variables = started(variables, start)
    collections = {name: value for name, value in variables.items() if name != "params"}
    key_objective = jax.random.fold_in(key_init, OBJECTIVE)
    params = {
        "model": variables.get("params", {}),
        "objective": params_of(recipe.objective, key_objective, trace),
    }
    opt_state = optimizer(recipe, tx).init(params)
    # Two arrays: a state whose leaves share a buffer cannot be donated.
    step, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return TrainState(step, key_train, params, collections, opt_state, skipped)


def optimizer(
    recipe: Recipe, tx: optax.GradientTransformation
) -> optax.GradientTransformation:
    """`tx`, beside which the objective may have an optimizer for its own parameters."""
    own = optimizer_of(recipe.objective, tx)
    return tx if own is None else each_its_own({"model": tx, "objective": own})


def variables(state: TrainState) -> Variables:
    """The model's variables, as `recipe.module.apply` takes them."""
    return {"params": params_in_use(state)["model"], **state.collections}


def trained_model(recipe: Recipe, state: TrainState) -> Model:
    """What `encode`, `sample` or `evaluate` work on.

    Example:
        >>> import jax, numpy as np, optax, jaxae
        >>> recipe = jaxae.recipes.autoencoder((6,), latent_dim=2)
        >>> batch = {"x": np.zeros((1, 6), np.float32)}
        >>> def untrained(key):
        ...     state = jaxae.training.init_state(recipe, optax.sgd(0.1), batch, key)
        ...     return jaxae.training.trained_model(recipe, state)
        >>> jax.eval_shape(untrained, jax.random.key(0)).recipe == recipe
        True
    """
    return Model(recipe, variables(state))
