"""From stored values to the target: pure functions (key, values) -> x in [0, 1]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from jaxae.types import Prepare


def unit_interval(key: jax.Array, values: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Bytes become levels k/255; floats stay as they are. Draws nothing."""
    del key
    if values.dtype == jnp.uint8:
        return values.astype(jnp.float32) / 255.0
    return values


def binarize(key: jax.Array, values: Shaped[Array, "b _ ..."]) -> Float[Array, "b ..."]:
    """Draws every pixel as 0 or 1 with its intensity as the probability of 1.

    With a fresh key at every step this is the dynamic binarisation of Salakhutdinov &
    Murray (2008); with a fixed key it is a static one. Probabilities are rounded to
    1/65,536; 0 and 1 are exact.
    """
    x = unit_interval(key, values)
    threshold = jnp.round(x * 65536.0).astype(jnp.int32)
    return (_uniform_16_bit(key, x.shape) < threshold).astype(x.dtype)


def undrawn(prepare: Prepare) -> Prepare:
    """A preparation without its draws, for what is encoded or decoded as it is."""
    return unit_interval if prepare is binarize else prepare


def _uniform_16_bit(key: jax.Array, shape: tuple[int, ...]) -> Int[Array, "b ..."]:
    """Whole numbers below 65,536, two from each random word.

    jax.random.bernoulli hashes a word for every pixel, which takes an eighth of a small
    model's step. The halves lie along the second axis: a sharded batch stays sharded.
    """
    rows = shape[1]
    words = jax.random.bits(key, (shape[0], -(-rows // 2), *shape[2:]), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16], axis=1)
    return halves[:, :rows].astype(jnp.int32)
