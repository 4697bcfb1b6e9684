"""What happens after an update beside it, on the parameters and the optimizer.

A hook is a pure function (state, observed, key) -> state, run by the train step.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxae.bottlenecks.codebook import dead_codes, draw_features, residual_kmeans
from jaxae.bottlenecks.quantized import VectorQuantizer
from jaxae.errors import require
from jaxae.types import Hook, Observed, TrainState


def revive_codes(
    quantizer: VectorQuantizer, path: tuple[str, ...] = ("bottleneck",)
) -> Hook:
    """Starts a codebook that is learned by gradient, and replaces its dead codes.

    After the first update the codes are the k-means centres of the batch's features;
    after every later one, a code whose running count is below `dead_below` times the
    mean count becomes a random feature of the batch and counts as much as the mean
    code. Both forget the optimizer's moments of the codes they replace.

    Args:
        quantizer: The bottleneck, whose `dead_below` and `kmeans_steps` are used.
        path: Where it is in the model's variables.

    Raises:
        ValueError: The codebook is not learned by gradient.
    """
    learning = quantizer.codebook
    require(learning == "gradient", "codebook", learning, "'gradient' for this hook")
    shape = (quantizer.num_quantizers, quantizer.codebook_size)
    codebook, counters = ("model", *path, "codebook"), ("statistics", *path)

    def hook(state: TrainState, observed: Observed, key: jax.Array) -> TrainState:
        old = _look_up(state.params, codebook)
        statistics = _look_up(state.collections, counters)
        features = observed.info["features"].reshape(-1, shape[0], old.shape[-1])
        stages = features.swapaxes(0, 1)

        def start() -> tuple[Array, Array, Array]:
            steps = quantizer.kmeans_steps
            books, counts = residual_kmeans(key, stages[0], shape, steps)
            return books, jnp.maximum(counts, 1.0), jnp.zeros(shape)

        def revive() -> tuple[Array, Array, Array]:
            counts = statistics["counts"]
            dead = dead_codes(counts, quantizer.dead_below)
            rows = draw_features(key, stages, shape[1])
            books = jnp.where(dead[..., None] > 0, rows, old)
            mean = counts.mean(axis=-1, keepdims=True)
            return books, jnp.where(dead > 0, mean, counts), 1 - dead

        started = statistics["initialized"] > 0
        books, counts, keep = jax.lax.cond(started, revive, start)
        new = {**statistics, "counts": counts, "initialized": jnp.ones(())}
        return state._replace(
            params=_replaced(state.params, codebook, books),
            collections=_replaced(state.collections, counters, new),
            opt_state=reset_moments(state.opt_state, codebook, keep[..., None]),
        )

    return hook


def reset_moments(opt_state: PyTree, path: tuple[str, ...], keep: Array) -> PyTree:
    """Zeroes the moments of some rows of one parameter, as if they had just been made.

    Args:
        opt_state: Of any optax optimizer.
        path: The parameter's keys, such as ("model", "bottleneck", "codebook").
        keep: 1 where the moments stay and 0 where they are reset, of a shape that
            broadcasts to the parameter's.

    Returns:
        The state, with every array that belongs to the parameter (it has the
        parameter's path at the end of its own, and `keep` broadcasts to it)
        multiplied by `keep`.
    """

    def reset(keys: tuple[Any, ...], leaf: Array) -> Array:
        names = tuple(str(getattr(k, "key", getattr(k, "name", k))) for k in keys)
        if names[-len(path) :] != path or not _broadcasts(keep.shape, leaf.shape):
            return leaf
        kept = jnp.broadcast_to(keep.reshape(_aligned(keep, leaf)), leaf.shape)
        return jnp.where(kept != 0, leaf, jnp.zeros_like(leaf))

    return jax.tree_util.tree_map_with_path(reset, opt_state)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return jnp.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def _aligned(keep: Array, leaf: Array) -> tuple[int, ...]:
    """`keep`'s shape with as many axes as `leaf`, as ranks are never promoted."""
    return (*[1] * (leaf.ndim - keep.ndim), *keep.shape)


def _look_up(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _replaced(
    tree: Mapping[str, Any], path: tuple[str, ...], value: Any
) -> dict[str, Any]:
    """A copy of `tree` with another value at `path`."""
    name, *rest = path
    new = _replaced(tree[name], tuple(rest), value) if rest else value
    return {**tree, name: new}
