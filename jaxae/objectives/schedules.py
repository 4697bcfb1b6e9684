"""Schedules that optax lacks, for the weights of objectives."""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxae.checks import check_count
from jaxae.errors import require


def cyclical(period: int, peak: float = 1.0, ratio: float = 0.5) -> optax.Schedule:
    """Rises from 0 to `peak` and stays there, again and again (Fu et al. 2019).

    Args:
        period: Steps per cycle.
        peak: The highest value.
        ratio: R, the part of a cycle in which the value rises linearly.

    Raises:
        ValueError: `period` is below 1, `peak` not above 0, or `ratio` not in (0, 1].
    """
    check_count("period", period)
    require(peak > 0, "peak", peak, "above 0")
    require(0 < ratio <= 1, "ratio", ratio, "in (0, 1]")

    def schedule(count: ArrayLike) -> Float[Array, "..."]:
        phase = jnp.mod(jnp.asarray(count), period).astype(jnp.float32)
        return peak * jnp.minimum(phase / (ratio * period), 1.0)

    return schedule
