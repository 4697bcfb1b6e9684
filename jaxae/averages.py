"""Averages: over the examples of a batch, which may have weights, and over batches."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Values = TypeVar("Values")


def weighted_mean(
    values: Float[Array, "b ..."], weight: Float[Array, " b"] | None = None
) -> Float[Array, "..."]:
    """The mean over the first axis, where example i counts `weight[i]` times.

    All count alike without a weight. Where none has any the mean is 0, not NaN.
    """
    if weight is None:
        return values.mean(axis=0)
    weight = weight.astype(values.dtype)
    column = weight.reshape(-1, *[1] * (values.ndim - 1))
    # What has no weight may be anything, infinite too.
    weighed = jnp.where(column > 0, values * column, 0.0)
    return weighed.sum(axis=0) / jnp.maximum(weight.sum(), 1e-12)


def any_weight(weight: Float[Array, " b"] | None) -> Bool[Array, ""]:
    """Whether any example of a batch counts."""
    return jnp.asarray(True) if weight is None else (weight > 0).any()


def running_mean(
    old: Values,
    new: Values,
    mass: Float[Array, ""],
    decay: float,
    known: Bool[Array, ""] | bool = True,
) -> tuple[Values, Float[Array, ""]]:
    """A mean over batches that forgets: Σ_i dⁿ⁻ⁱ x_i / Σ_i dⁿ⁻ⁱ after n of them.

    The start has no part in it: this is the bias-corrected moment of Adam (Kingma & Ba
    2015, section 3), with the corrected value as the state.

    Args:
        old: The mean before, an array or several; of no consequence at a mass of 0.
        new: The values of this batch.
        mass: The denominator before; 0 at first.
        decay: d, what a batch counts relative to the next one, at least 0 and below 1.
        known: Whether there are values; otherwise nothing changes.

    Returns:
        The mean and the denominator.
    """
    grown = decay * mass + 1.0
    # Not old + share · (new - old), which keeps rounding of an `old` far larger.
    share = 1.0 / grown
    mean = jax.tree.map(
        lambda a, b: jnp.where(known, (1.0 - share) * a + share * b, a), old, new
    )
    return mean, jnp.where(known, grown, mass)
