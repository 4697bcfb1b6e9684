"""The gradient of a batch: at once, or in parts that need less memory."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae.recipe import Recipe
from jaxae.training.batch import PART, total_weight
from jaxae.training.loss import Aux, Metrics, batch_loss
from jaxae.types import Batch, Observed, Params, TrainState, Variables


class Gradient(NamedTuple):
    """What a step needs of a batch.

    Attributes:
        grads: Of the mean loss, by the parameters.
        loss: The mean.
        metrics: Their means.
        collections: What the model keeps, after the batch.
        seen: What hooks see: of a batch in parts the last part.
    """

    grads: dict[str, Params]
    loss: Array
    metrics: Metrics
    collections: Variables
    seen: Observed


GradientOf = Callable[[TrainState, Batch, jax.Array], Gradient]


def make_gradient(
    recipe: Recipe,
    *,
    accumulate: int = 1,
    remat: bool = False,
    gather: Callable[[Params], Params] | None = None,
) -> GradientOf:
    """The pure function (state, batch, key) -> `Gradient`.

    See `make_train_step` for the arguments.
    """

    def whole(state: TrainState, batch: Batch, key: jax.Array) -> Gradient:
        def loss(params: dict[str, Params]) -> tuple[Array, Aux]:
            return batch_loss(
                recipe,
                params if gather is None else gather(params),
                state.collections,
                batch,
                key,
                state.step,
                remat=remat,
            )

        (mean, aux), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        return Gradient(grads, mean, *aux)

    def in_parts(state: TrainState, batch: Batch, key: jax.Array) -> Gradient:
        count = _parts(batch, accumulate)
        if count == 1:
            return whole(state, batch, key)
        parts = {name: _split(values, count) for name, values in batch.items()}

        def part(i: Array | int) -> Batch:
            return {name: values[i] for name, values in parts.items()}

        def body(i: Array, total: Gradient) -> Gradient:
            before = state._replace(collections=total.collections)
            own = jax.random.fold_in(jax.random.fold_in(key, PART), i)
            new = whole(before, part(i), own)
            share = total_weight(part(i)) / jnp.maximum(total_weight(batch), 1e-12)
            # A part of weight zero may have no mean.
            sums = jax.tree.map(
                lambda sum, x: sum + jnp.where(share > 0, share * x, 0.0),
                _means(total),
                _means(new),
            )
            return Gradient(*sums, collections=new.collections, seen=new.seen)

        shapes = jax.eval_shape(whole, state, part(0), key)
        zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        total = zero._replace(collections=state.collections)
        return jax.lax.fori_loop(0, count, body, total)

    return in_parts


def _means(gradient: Gradient) -> tuple[dict[str, Params], Array, Metrics]:
    return gradient.grads, gradient.loss, gradient.metrics


def _parts(batch: Batch, accumulate: int) -> int:
    """The most parts of one size, `accumulate` at most; fewer for a last, odd batch."""
    rows = batch["x"].shape[0]
    return max(n for n in range(1, accumulate + 1) if rows % n == 0)


def _split(values: Array, count: int) -> Array:
    """[b, ...] -> [count, b / count, ...]: part i has the rows i, i + count, ...

    A batch that is divided over devices by rows is so in every part too, where it lies.
    """
    rows = values.shape[0] // count
    return values.reshape(rows, count, *values.shape[1:]).swapaxes(0, 1)
