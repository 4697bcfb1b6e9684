"""Through the bottleneck and back: reconstructed, cleaned, with holes filled."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.errors import ensure
from jaxae.inference.decoding import decode
from jaxae.inference.encoding import codes_of_batch, encode, encoder_batch, of_shards
from jaxae.inputs import (
    check_model,
    on_device,
    shard_rows,
    split_missing,
)
from jaxae.preparation import unit_interval
from jaxae.recipe import Model


def reconstruct(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    key: jax.Array | None = None,
    **conditions: Any,
) -> Float[Array, "n ..."]:
    """Through the bottleneck and back; by a sample of the code if given a key.

    Arguments and errors are those of `encode`.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.reconstruct(model, x).shape
        (20, 4, 4, 1)
    """
    check_model(model)
    if shard_rows(x) is not None:
        x, missing, conditions = of_shards(model, x, missing, conditions)
        x, missing = x[:], None if missing is None else missing[:]
    codes = encode(model, x, missing=missing, **conditions, key=key)
    _, missing = split_missing(x, missing, "x")
    # Of inputs of another shape, what is missing says nothing of x.
    missing = missing if model.module.sees_x else None
    return decode(model, codes, missing=missing, **conditions)


def repair(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    fill: float = 0.0,
    **conditions: Any,
) -> Float[Array, "n ..."]:
    """Cleans damaged examples, or fills their holes.

    Args:
        model: A denoising or an inpainting model.
        x: [n, *shape], damaged. Nothing is damaged further.
        missing: True where entries are missing, [n, h, w, 1] or [n, h, w], or of the
            shape of x; "nan" where x is NaN there. Only those are changed, and what x
            holds there is not looked at. Without it all entries are the model's.
        fill: What the missing entries are set to before the model sees them; what the
            corruption filled in while training.
        **conditions: As for `encode`.

    Raises:
        ValueError: x, what is missing or the labels are not as the model needs them.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.inpainting_autoencoder((4, 4, 1), 8)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> mask = np.zeros((20, 4, 4, 1), bool)
        >>> mask[:, :2] = True  # the upper half is missing
        >>> filled = jaxae.repair(model, np.where(mask, np.nan, x), missing=mask)
        >>> bool((filled[:, 2:] == x[:, 2:]).all())
        True
    """
    check_model(model)
    x, hole = split_missing(x, missing, "x")
    if hole is None:
        shown = "mask" in model.module.view.needs
        ensure(not shown, "missing must be given to a model that fills holes")
        return reconstruct(model, x, **conditions)
    other = "missing must be left out: what is made of x has another shape"
    ensure(model.module.sees_x, other)
    batch = encoder_batch(model, x, hole, conditions, fill)
    hole = batch["mask"]
    made = decode(model, codes_of_batch(model, batch), missing=hole, **conditions)
    # Bytes come out as levels, like what the model makes.
    kept = unit_interval(jax.random.key(0), on_device(x))
    return jnp.where(hole, made, kept)
