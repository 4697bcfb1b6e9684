"""From examples to their codes."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from jaxae.checks import check_key
from jaxae.corruptions import fill_in, identity
from jaxae.errors import ArgumentError, ensure
from jaxae.inference.base import CHUNK, Codes, alone, shown_beside
from jaxae.inputs import (
    check_conditions,
    check_examples,
    check_model,
    check_scalable,
    check_values,
    on_device,
    shard_rows,
    split_missing,
    unrounded,
)
from jaxae.models.family import Family, call
from jaxae.recipe import Model
from jaxae.training.batch import FILL, prepare_inputs
from jaxae.types import Batch, Latent, Variables

BLOCK = 8 * CHUNK
"""Examples that are checked, prepared and put on the device at a time."""


def encode(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    key: jax.Array | None = None,
    **conditions: Any,
) -> Codes:
    """The codes of examples: the means of q(z | x), or a sample of it if given a key.

    Args:
        model: As `fit` returns it.
        x: What the encoder sees, [n, *shape]; [n, *input_shape] for a model that was
            trained on "inputs" of their own. Or `jaxae.Shards`, in their order, with
            what is missing and shown of them.
        missing: True where x is not known, of its shape or [n, h, w, 1]; "nan" where x
            is NaN there. What x holds there is not looked at.
        key: Draws from the posterior; not for deterministic codes, which have none.
        **conditions: What the model is shown besides, by name, as `label=` [n].

    Raises:
        ValueError: x, what is missing or the labels are not as the model needs them,
            or the code is deterministic and a key was given.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.encode(model, x).shape
        (20, 2)
    """
    check_model(model)
    if key is not None:
        check_key(key)
    sharded = shard_rows(x) is not None
    x, missing, conditions = of_shards(model, x, missing, conditions)
    large = sharded or (isinstance(x, np.ndarray) and len(x) > BLOCK)
    if not large or isinstance(missing, Tracer):
        return codes_of_batch(model, encoder_batch(model, x, missing, conditions), key)
    parts = model.module.encoded_with
    shown = check_conditions(model.recipe, conditions, len(x), *parts)
    keys = None if key is None else jax.random.split(key, len(x))

    def block(rows: slice) -> Codes:
        """What lies on the disk is read when its turn comes."""
        gaps = missing if missing is None or isinstance(missing, str) else missing[rows]
        own = {name: values[rows] for name, values in shown.items()}
        batch = encoder_batch(model, x[rows], gaps, own)
        return codes_of_batch(model, batch, None if keys is None else keys[rows])

    first = block(slice(0, BLOCK))
    codes = jax.tree.map(lambda c: jnp.zeros((len(x), *c.shape[1:]), c.dtype), first)
    for start in range(0, len(x), BLOCK):
        own = first if start == 0 else block(slice(start, start + BLOCK))
        # At most one block is on its way while the next is read.
        codes = _written(jax.block_until_ready(codes), own, start)
    return codes


def of_shards(
    model: Model, x: Any, missing: Any, conditions: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """What the encoder sees of `Shards`, not read yet, and what they say beside it."""
    rows = shard_rows(x)
    if rows is None:
        return x, missing, conditions
    ensure(missing is None, "missing must be left out: the shards say it themselves")
    gaps = None if "inputs" in rows else rows.get("missing")
    shown = {name: rows[name][:] for name in model.module.view.fields if name in rows}
    return rows.get("inputs", rows["x"]), gaps, shown | conditions


@partial(jax.jit, donate_argnums=0)
def _written(codes: Codes, block: Codes, start: Any) -> Codes:
    """In place, so that there is no second copy of all of them."""
    place = jax.lax.dynamic_update_slice_in_dim
    return jax.tree.map(lambda c, part: place(c, part, start, 0), codes, block)


def codes_of_batch(model: Model, batch: Batch, key: jax.Array | None = None) -> Codes:
    """The means of q(z | x) without a key; with one, or one for each, draws."""
    draw, count = key is not None, len(batch["inputs"])
    keys = jax.random.key(0) if key is None else key
    keys = keys if keys.ndim else jax.random.split(keys, count)
    return encoding_program(model.module, draw, model.variables, (batch, keys))


def codes_of(latents: tuple[Latent, ...]) -> Codes:
    """What users see as the code: [b, ...], a tuple of several, or whole numbers."""
    shown = tuple(u.mean if u.indices is None else u.indices for u in latents)
    return shown[0] if len(shown) == 1 else shown


@partial(jax.jit, static_argnums=(0, 1))
def encoding_program(
    module: Family, draw: bool, variables: Variables, inputs: tuple[Batch, Array]
) -> Codes:
    """The codes, chunk by chunk."""

    def one(example: tuple[Batch, Array]) -> Codes:
        return encode_one(module, variables, *example, draw=draw)

    return jax.lax.map(one, inputs, batch_size=CHUNK)


def encode_one(
    module: Family, variables: Variables, batch: Batch, key: Array, draw: bool = False
) -> Codes:
    """The code of one example: what a batch has in common is not to be seen here.

    Raises:
        ValueError: `draw`, and there is no posterior.
    """
    latents = call(module, variables, alone(batch), key, method="encode")
    if draw:
        ensure(module.generative, "key must be left out: the code is deterministic")
        latents = tuple(latent._replace(mean=latent.z[0]) for latent in latents)
    return jax.tree.map(lambda code: code[0], codes_of(latents))


def encoder_batch(
    model: Model,
    x: Any,
    missing: Any,
    conditions: Mapping[str, Any],
    fill: float = FILL,
) -> dict[str, Any]:
    """What the encoder sees of examples, prepared as in training but not drawn."""
    check_model(model)
    recipe, shape = model.recipe, model.module.shape_seen
    x, missing = split_missing(x, missing, "x")
    x = check_examples(shape, x)
    check_scalable(recipe, x, "x")
    # Damage and another view may have any values.
    same = model.module.sees_x and recipe.corruption is identity
    if same and not isinstance(x, Tracer):
        x = unrounded(recipe, x)
        _warn_of_values(model, x, missing)
    x = prepare_inputs(recipe, jax.random.key(0), on_device(x))
    shown = shown_beside(model, len(x), conditions, *model.module.encoded_with)
    if missing is None:
        return {"inputs": x, **shown}
    mask = on_device(missing)
    return {"inputs": fill_in(x, mask, fill), "mask": mask, **shown}


def _warn_of_values(model: Model, x: Any, missing: Any) -> None:
    """An encoder that was trained on x is not for other values; one of inputs may be.

    Which of both a model is, it does not know.
    """
    try:
        check_values(model.recipe, x, "x", None if missing is None else ~missing)
    except ArgumentError as error:
        right = "right only for a model that was trained on inputs of their own"
        warnings.warn(f"{error}; {right}", stacklevel=4)
