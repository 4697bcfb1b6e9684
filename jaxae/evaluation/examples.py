"""One example at a time, in chunks: the result does not depend on the chunk's size."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Bool, PyTree

from jaxae.checks import check_count, check_key
from jaxae.recipe import Model, Recipe, join_numbers, split_numbers
from jaxae.training.batch import model_batch
from jaxae.types import AnyArray, Batch, Variables

PerExample = Callable[..., PyTree]

CHUNKS = 8
"""That go through the device at a time: all data, or what is made of them, may be too
large for it."""


def map_examples(
    function: PerExample,
    model: Model,
    data: Mapping[str, AnyArray],
    key: jax.Array,
    chunk: int,
    static: tuple[Any, ...] = (),
    shared: tuple[Any, ...] = (),
) -> PyTree[AnyArray]:
    """function(recipe, variables, batch, key, *static, *shared) for every example.

    Args:
        function: A pure function defined at the top of a module, so that it compiles
            once per recipe, whatever the numbers of its scale. `batch` has one example
            as the model sees it: prepared, and damaged.
        model: The trained model.
        data: As it is stored, {"x": [n, ...], ...}.
        key: Every example gets its own key from it, by its number, so that it is
            binarised, damaged and encoded alike whatever else is evaluated.
        chunk: Examples at a time.
        static: Further arguments that are hashable.
        shared: Further arguments that are arrays, the same for every example.

    Returns:
        What the function returns, with a leading axis [n]; on the host unless traced.
    """
    check_key(key)
    check_count("chunk", chunk)
    count = data["x"].shape[0]
    keys = jax.random.split(key, count)
    recipe, numbers = split_numbers(model.recipe)
    settled = function, recipe, chunk, static, numbers, model.variables
    leaves = jax.tree.leaves((model.variables, dict(data), keys, shared))
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return _mapped(*settled, data, keys, shared)

    def mapped(rows: slice) -> PyTree[np.ndarray]:
        """What lies on the disk is read when its turn comes."""
        own = {name: values[rows] for name, values in data.items()}
        return jax.device_get(_mapped(*settled, own, keys[rows], shared))

    size = CHUNKS * chunk
    first = mapped(slice(0, size))
    if count <= size:
        return first
    made = jax.tree.map(lambda u: np.empty((count, *u.shape[1:]), u.dtype), first)
    for start in range(0, count, size):
        rows = slice(start, start + size)
        part = mapped(rows) if start else first
        jax.tree.map(lambda all, own, rows=rows: np.copyto(all[rows], own), made, part)
    return made


def known_values(data: Mapping[str, AnyArray]) -> Bool[AnyArray, "n ..."]:
    """Where x is known, of its shape."""
    missing = data.get("missing", np.zeros((), bool))
    on_device = isinstance(data["x"], jax.Array) or isinstance(missing, jax.Array)
    xp = jnp if on_device else np
    return xp.broadcast_to(~missing, data["x"].shape)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _mapped(
    function: PerExample,
    recipe: Recipe,
    chunk: int,
    static: tuple[Any, ...],
    numbers: Mapping[str, AnyArray],
    variables: Variables,
    data: Batch,
    keys: jax.Array,
    shared: tuple[Any, ...],
) -> PyTree:
    recipe = join_numbers(recipe, numbers)

    def one(example: tuple[Batch, jax.Array]) -> PyTree:
        batch, key = example
        key_batch, key_own = jax.random.split(key)
        alone = {name: value[None] for name, value in batch.items()}
        seen = model_batch(recipe, alone, key_batch)
        return function(recipe, variables, seen, key_own, *static, *shared)

    return jax.lax.map(one, (data, keys), batch_size=chunk)
