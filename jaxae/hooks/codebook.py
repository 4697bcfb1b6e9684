"""The hook that starts and revives a codebook which is learned by gradient."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae.bottlenecks.codebook import (
    dead_codes,
    draw_features,
    per_position,
    residual_kmeans,
)
from jaxae.bottlenecks.quantized import VectorQuantizer
from jaxae.errors import require
from jaxae.hooks.moments import reset_moments
from jaxae.types import Observed, TrainState
from jaxae.values import Value


class ReviveCodes(Value):
    """Starts a codebook that is learned by gradient, and replaces its dead codes.

    After the first update the codes are the k-means centres of the batch's features;
    after every later one, a code whose running count is below `dead_below` times the
    mean count becomes a random feature of the batch and counts as much as the mean
    code. Both forget the optimizer's moments of the codes they replace.

    Attributes:
        quantizer: The bottleneck, whose `dead_below` and `kmeans_steps` are used.
        path: Where it is in the model's variables.

    Raises:
        ValueError: The codebook is not learned by gradient.
    """

    quantizer: VectorQuantizer
    path: tuple[str, ...] = ("bottleneck",)

    def __post_init__(self) -> None:
        """Checks the codebook."""
        learning = self.quantizer.codebook
        gradient = learning == "gradient"
        require(gradient, "codebook", learning, "'gradient' for this hook")

    def __call__(
        self, state: TrainState, observed: Observed, key: jax.Array
    ) -> TrainState:
        """The state with a codebook that is started, or revived."""
        quantizer = self.quantizer
        shape = (quantizer.num_quantizers, quantizer.codebook_size)
        codebook, counters = (
            ("model", *self.path, "codebook"),
            ("statistics", *self.path),
        )
        old = _look_up(state.params, codebook)
        statistics = _look_up(state.collections, counters)
        features = observed.info["features"]
        weight = per_position(observed.batch.get("weight"), features.shape[:-2])
        stages = features.reshape(-1, shape[0], old.shape[-1]).swapaxes(0, 1)

        def start() -> tuple[Array, Array, Array]:
            steps = quantizer.kmeans_steps
            books, counts = residual_kmeans(key, stages[0], shape, steps, weight)
            return books, jnp.maximum(counts, 1.0), jnp.zeros(shape, jnp.float32)

        def revive() -> tuple[Array, Array, Array]:
            counts = statistics["counts"]
            dead = dead_codes(counts, quantizer.dead_below)
            rows = draw_features(key, stages, shape[1], weight)
            books = jnp.where(dead[..., None] > 0, rows, old)
            mean = counts.mean(axis=-1, keepdims=True)
            return books, jnp.where(dead > 0, mean, counts), 1 - dead

        started = statistics["initialized"] > 0
        books, counts, keep = jax.lax.cond(started, revive, start)
        params = _replaced(state.params, codebook, books)
        fresh = None if observed.fresh is None else observed.fresh(params)
        new = {**statistics, "counts": counts, "initialized": jnp.ones((), jnp.float32)}
        return state._replace(
            params=params,
            collections=_replaced(state.collections, counters, new),
            opt_state=reset_moments(state.opt_state, codebook, keep[..., None], fresh),
        )


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
