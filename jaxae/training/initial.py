"""What a model begins with: its variables, their shapes and their names."""

from __future__ import annotations  # help() shows names, not types

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike

from jaxae.checks import check_key
from jaxae.inputs import abstract_batch, check_recipe
from jaxae.models.family import call
from jaxae.preparation import Scale, unit_interval
from jaxae.recipe import Model, Recipe
from jaxae.training.batch import DROPOUT, MODEL, model_batch
from jaxae.types import Trace, Variables


def init(recipe: Recipe, key: jax.Array) -> Model:
    """An untrained model: what `fit(recipe, ..., key=key)` begins with.

    Args:
        recipe: The family.
        key: A typed key.

    Raises:
        ValueError: These are no recipe and no key.

    Example:
        >>> import jax, jaxae
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> model = jaxae.init(recipe, jax.random.key(0))
        >>> jaxae.sample(model, jax.random.key(1), 3).shape
        (3, 4, 4, 1)
    """
    check_recipe(recipe)
    check_key(key)
    key_init, _ = jax.random.split(key)  # as in `fit`
    key_model, _ = jax.random.split(key_init)  # as in `init_state`
    return Model(recipe, _fresh(unscaled(recipe), key_model))


@partial(jax.jit, static_argnums=0)
def _fresh(recipe: Recipe, key: jax.Array) -> Variables:
    forms = abstract_batch(recipe).items()
    zeros = {name: jnp.zeros(form.shape, form.dtype) for name, form in forms}
    return init_variables(recipe, zeros, key)[1]


def summary(recipe: Recipe) -> str:
    """A table of the layers: what each puts out of one example, and its parameters.

    Below it their sum, and the floating-point operations of one example's way through
    the model, as XLA counts them before it optimises.

    Args:
        recipe: The family.

    Raises:
        ValueError: It is no recipe.

    Example:
        >>> import jaxae
        >>> network = jaxae.networks.FullyConnected((4,))
        >>> recipe = jaxae.recipes.autoencoder((6,), 2, network=network)
        >>> print(jaxae.summary(recipe))
        layer                  kind   output  parameters
        encoder/Dense_0        Dense  4               28
        bottleneck/Dense_0     Dense  2               10
        decoder/MLP_0/Dense_0  Dense  4               12
        decoder/Dense_0        Dense  6               30
        80 parameters, 152 floating-point operations for one example
    """
    check_recipe(recipe)
    recipe = unscaled(recipe)
    seen: dict[str, tuple[str, str]] = {}

    def look(function: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        out = function(*args, **kwargs)
        shape = "x".join(map(str, out.shape[1:])) if isinstance(out, jax.Array) else ""
        path = "/".join(context.module.path)
        if context.method_name == "__call__" or path not in seen:
            seen[path] = type(context.module).__name__, shape
        return out

    batch, key = abstract_batch(recipe), jax.random.key(0)
    with nn.intercept_methods(look):
        _, shapes = jax.eval_shape(partial(init_variables, recipe), batch, key)
    counts = Counter[str]()
    for name, form in by_name(shapes.get("params", {})).items():
        counts[name.rpartition("/")[0]] += prod(form.shape)
    layers = [k for k in dict.fromkeys([*seen, *counts]) if k in counts]
    rows = [(k, *seen.get(k, ("", "")), f"{counts[k]:,}") for k in layers]
    total = f"{counts.total():,} parameters, {_operations(recipe):,.0f} "
    return f"{_table(rows)}\n{total}floating-point operations for one example"


def _table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    rows = [("layer", "kind", "output", "parameters"), *rows]
    layer, kind, output, count = (
        max(map(len, cells)) for cells in zip(*rows, strict=True)
    )
    return "\n".join(
        f"{a:<{layer}}  {b:<{kind}}  {c:<{output}}  {d:>{count}}" for a, b, c, d in rows
    )


def _operations(recipe: Recipe) -> float:
    """What a forward pass over one example takes."""

    def forward(variables: Variables, batch: Any, key: jax.Array) -> Any:
        return call(recipe.module, variables, batch, key).likelihood.mean

    batch = {
        name: jax.ShapeDtypeStruct((1, *form.shape[1:]), form.dtype)
        for name, form in abstract_batch(recipe).items()
    }
    variables = abstract_variables(recipe)
    lowered = jax.jit(forward).lower(variables, batch, jax.random.key(0))
    costs: Any = lowered.cost_analysis()
    return float(costs["flops"])


def unscaled(recipe: Recipe) -> Recipe:
    """For shapes, which no scale changes: one may have no numbers yet."""
    scaled = isinstance(recipe.prepare, Scale)
    return recipe.replace(prepare=unit_interval) if scaled else recipe


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
    """Shapes and dtypes of the variables of a model; traced once for equal recipes."""
    return _fresh.eval_shape(recipe, jax.random.key(0))


def by_name(variables: Any) -> dict[str, Any]:
    """The arrays of a model, with names such as "params/encoder/Dense_0/kernel"."""
    flat, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {name_of(path): leaf for path, leaf in flat}


def name_of(path: Any) -> str:
    """The name of an array at a path of JAX's."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
