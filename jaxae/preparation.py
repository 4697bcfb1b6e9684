"""From stored values to the target: pure functions (key, values) -> x in [0, 1]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped


def unit_interval(key: jax.Array, values: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Bytes become levels k/255; floats stay as they are. Draws nothing."""
    del key
    if values.dtype == jnp.uint8:
        return values.astype(jnp.float32) / 255.0
    return values


def binarize(key: jax.Array, values: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Draws every pixel as 0 or 1 with its intensity as the probability of 1.

    With a fresh key at every step this is the dynamic binarisation of Salakhutdinov &
    Murray (2008); with a fixed key it is a static one.
    """
    x = unit_interval(key, values)
    return jax.random.bernoulli(key, x).astype(x.dtype)
