"""Forgetting what an optimizer knows of parameters that were replaced."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def reset_moments(
    opt_state: PyTree, path: tuple[str, ...], keep: Array, fresh: PyTree = None
) -> PyTree:
    """The optimizer's state where some rows of one parameter were replaced.

    What a state holds of a parameter may be a moment, or a copy of the parameter as the
    z of `optax.contrib.schedule_free`, and no name or value tells which. The optimizer
    does: replaced rows get what it would make of the new parameters at the start.

    Args:
        opt_state: Of any optax optimizer.
        path: The parameter's keys, such as ("model", "bottleneck", "codebook").
        keep: 1 where the rows stay and 0 where they were replaced, of a shape that
            broadcasts to the parameter's.
        fresh: `Observed.fresh` of the new parameters; None for zeros, which moments
            start with.

    Returns:
        The state, with the rows of `fresh` in every array that belongs to the parameter
        (its path ends like the parameter's, and `keep` broadcasts to it).
    """
    # An optimizer of one player alone has the player's name before its own fields.
    player, *names_below = path
    rest = tuple(names_below)

    if fresh is None:
        fresh = jax.tree.map(jnp.zeros_like, opt_state)

    def reset(keys: tuple[Any, ...], leaf: Array, start: Array) -> Array:
        names = tuple(str(getattr(k, "key", getattr(k, "name", k))) for k in keys)
        own = names[-len(rest) :] == rest and player in names[: -len(rest)]
        if not own or not _broadcasts(keep.shape, leaf.shape):
            return leaf
        kept = jnp.broadcast_to(keep.reshape(_aligned(keep, leaf)), leaf.shape)
        return jnp.where(kept != 0, leaf, start)

    return jax.tree_util.tree_map_with_path(reset, opt_state, fresh)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return jnp.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def _aligned(keep: Array, leaf: Array) -> tuple[int, ...]:
    """`keep`'s shape with as many axes as `leaf`, as ranks are never promoted."""
    return (*[1] * (leaf.ndim - keep.ndim), *keep.shape)
