"""What a model begins with: its variables, their shapes and their names."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxae.inputs import abstract_batch
from jaxae.recipe import Recipe
from jaxae.training.batch import DROPOUT, MODEL, model_batch
from jaxae.types import Trace, Variables


def init_variables(
    recipe: Recipe, batch: Mapping[str, ArrayLike], key: jax.Array
) -> tuple[Trace, Variables]:
    """What a model makes of a batch, and the variables that it begins with."""
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


def abstract_variables(recipe: Recipe) -> Any:
    """Shapes and dtypes of the variables of a model."""
    return jax.eval_shape(
        lambda batch, key: init_variables(recipe, batch, key)[1],
        abstract_batch(recipe),
        jax.random.key(0),
    )


def by_name(variables: Any) -> dict[str, Any]:
    """The arrays of a model, with names such as "params/encoder/Dense_0/kernel"."""
    flat, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {name_of(path): leaf for path, leaf in flat}


def name_of(path: Any) -> str:
    """The name of an array at a path of JAX's."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
