"""Sums that are fast on the CPU too."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def sum_last(values: Float[Array, "... n"]) -> Float[Array, "..."]:
    """The sum over the last axis, on the CPU as a product with ones.

    XLA's CPU backend neither vectorises nor spreads a sum that is fused with the
    logarithms or squares that it adds up, and takes 3 to 25 times as long for it. All
    other platforms get the sum, which they fuse well.
    """
    return lax.platform_dependent(values, cpu=_by_product, default=_by_sum)


def _by_product(values: Array) -> Array:
    ones = jnp.ones(values.shape[-1:], values.dtype)
    return jnp.matmul(values, ones, precision="highest")


def _by_sum(values: Array) -> Array:
    return values.sum(axis=-1)
