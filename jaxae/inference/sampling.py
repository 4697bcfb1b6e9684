"""Examples and codes from the prior."""

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from jaxae.checks import check_count, check_key
from jaxae.inference.base import CHUNK, Codes, alone, shown_beside
from jaxae.inference.decoding import decoding_program
from jaxae.inputs import (
    check_model,
)
from jaxae.models.family import Family, call
from jaxae.preparation import inverse
from jaxae.recipe import Model
from jaxae.types import Batch, Variables


def sample(
    model: Model,
    key: jax.Array,
    count: int,
    *,
    draw: bool = False,
    **conditions: Any,
) -> Float[Array, "n ..."]:
    """Examples of `count` codes from the prior.

    Args:
        model: A model with a prior.
        key: A typed key.
        count: How many.
        draw: Draw from p(x | z) too, rather than take its mean.
        **conditions: As for `encode`, as `label=` [count].

    Raises:
        ValueError: The family has no prior, or `count` is below 1.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.sample(model, key, count=3).shape
        (3, 4, 4, 1)
    """
    check_model(model)
    check_key(key)
    check_count("count", count)
    key_code, key_draw = jax.random.split(key)
    module, variables = model.module, model.variables
    shown = shown_beside(model, count, conditions, "decoder", "prior")
    side = {name: shown[name] for name in module.view.shown_to("decoder")}
    to_prior = {name: shown[name] for name in module.view.shown_to("prior")}
    codes = _sample_codes(module, count, variables, key_code, to_prior)
    if not draw:
        made = decoding_program(module, True, variables, (codes, side))
    else:
        keys = jax.random.split(key_draw, count)
        made = _draw(module, variables, (codes, side, keys))
    return inverse(model.recipe.prepare, made)


def sample_codes(model: Model, key: jax.Array, count: int, **conditions: Any) -> Codes:
    """`count` codes from the prior p(z), as `encode` returns them.

    Args:
        model: A model with a prior.
        key: A typed key.
        count: How many.
        **conditions: What the prior is shown, by name.

    Raises:
        ValueError: The family has no prior, or `count` is below 1.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.inference.sample_codes(model, key, 3).shape
        (3, 2)
    """
    check_model(model)
    check_key(key)
    check_count("count", count)
    shown = shown_beside(model, count, conditions, "prior")
    codes = _sample_codes(model.module, count, model.variables, key, shown)
    return codes[0] if len(codes) == 1 else codes


@partial(jax.jit, static_argnums=0)
def _draw(
    module: Family,
    variables: Variables,
    inputs: tuple[tuple[Array, ...], Batch, Array],
) -> Array:
    def one(example: tuple[tuple[Array, ...], Batch, Array]) -> Array:
        codes, batch, key = example
        codes = alone(alone(codes))
        likelihood = call(module, variables, codes, alone(batch), method="decode")
        return likelihood.sample(key)[0, 0]

    return jax.lax.map(one, inputs, batch_size=CHUNK)


@partial(jax.jit, static_argnums=(0, 1))
def _sample_codes(
    module: Family, count: int, variables: Variables, key: jax.Array, shown: Batch
) -> tuple[Array, ...]:
    codes = call(module, variables, key, count, shown, method="sample_codes")
    return jax.tree.map(lambda code: code[0], codes)
