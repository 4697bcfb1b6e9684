"""One pass over data that stay on the device, as one compiled function."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxae.recipe import Recipe
from jaxae.training.batch import SHUFFLE, total_weight
from jaxae.training.loss import Metrics, batch_loss
from jaxae.training.step import Step
from jaxae.types import Batch, Params, TrainState, Variables

Carry = TypeVar("Carry")


Share = Callable[[Int[Array, " b"]], Int[Array, " r"]]


def make_epoch(
    step: Step,
    batch_size: int,
    share: Share | None = None,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The pure function (state, data) -> (state, mean metrics), one pass in new order.

    Every example counts exactly once: where `batch_size` does not divide their number,
    the last step has a batch of the remainder. The means are over the examples; steps
    that were skipped are left out and counted in `skipped_steps`.

    Args:
        step: As from `make_train_step`.
        batch_size: Examples of a step.
        share: From the rows of a batch to those that this device takes, under pmap; all
            by default.
        axis_name: The mapped axis under pmap.

    Example:
        >>> import jax, optax, jaxae
        >>> recipe = jaxae.recipes.autoencoder((6,), latent_dim=2)
        >>> step = jaxae.make_train_step(recipe, optax.adam(1e-3))
        >>> epoch = jaxae.training.make_epoch(step, batch_size=10)
        >>> epoch = jax.jit(epoch, donate_argnums=0)  # of (state, {"x": x})
    """
    counted = count_examples(step, axis_name)

    def epoch(state: TrainState, data: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), SHUFFLE)
        order = jax.random.permutation(key, data["x"].shape[0])
        state, totals = over_batches(counted, state, data, order, batch_size, share)
        return state, means(totals)

    return epoch


def count_examples(step: Step, axis_name: str | None = None) -> Step:
    """The same step with metrics that can be summed and then given to `means`.

    Under pmap, over `axis_name`, a batch weighs what the shares of all devices do.
    """

    def counted(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = step(state, batch)
        applied = state.skipped_in_row == 0
        weight = total_weight(batch)
        if axis_name is not None:
            weight = jax.lax.psum(weight, axis_name)
        weight = jnp.where(applied, weight, 0.0)
        skipped = 1.0 - applied.astype(jnp.float32)
        return state, weigh(metrics, weight) | {"skipped_steps": skipped}

    return counted


def make_validation(
    recipe: Recipe,
    batch_size: int,
    divide: Callable[[Batch], Batch] | None = None,
) -> Callable[[dict[str, Params], Variables, Array, Batch, jax.Array], Metrics]:
    """The mean loss and metrics over data, with noise that is fixed by a key.

    Returns the pure function (params, collections, step, data, key) -> means; scheduled
    weights have their values at `step`. `divide` is applied to every batch, see
    `jaxae.training.parallel.divide`.

    Example:
        >>> import jax, jaxae
        >>> recipe = jaxae.recipes.autoencoder((6,), latent_dim=2)
        >>> validate = jax.jit(jaxae.training.make_validation(recipe, batch_size=10))
    """

    def validate(
        params: dict[str, Params],
        collections: Variables,
        step: Array,
        data: Batch,
        key: jax.Array,
    ) -> Metrics:
        def body(i: Array, batch: Batch) -> tuple[Array, Metrics]:
            own = jax.random.fold_in(key, i)
            divided = batch if divide is None else divide(batch)
            loss, (metrics, *_) = batch_loss(
                recipe, params, collections, divided, own, step, train=False
            )
            return i + 1, weigh({"loss": loss, **metrics}, total_weight(batch))

        order = jnp.arange(data["x"].shape[0])
        start = jnp.zeros((), jnp.int32)
        return means(over_batches(body, start, data, order, batch_size)[1])

    return validate


def over_batches(
    body: Callable[[Carry, Batch], tuple[Carry, Metrics]],
    carry: Carry,
    data: Batch,
    order: Int[Array, " n"],
    batch_size: int,
    share: Share | None = None,
) -> tuple[Carry, Metrics]:
    """Scans `body` over full batches, then calls it on the remainder if there is one.

    `share` may leave nothing of the remainder.

    Returns:
        The last carry, and the sum of what `body` returned beside it.
    """
    count = order.shape[0] // batch_size

    def shared(rows: Array) -> Array:
        return rows if share is None else share(rows)

    def take(indices: Array) -> Batch:
        return {name: values[indices] for name, values in data.items()}

    def scanned(carry: Carry, indices: Array) -> tuple[Carry, Metrics]:
        return body(carry, take(shared(indices)))

    rest, totals = shared(order[count * batch_size :]), {}
    if count:
        full = order[: count * batch_size].reshape(count, batch_size)
        carry, each = jax.lax.scan(scanned, carry, full)
        totals = jax.tree.map(lambda values: values.sum(axis=0), each)
    if rest.shape[0]:
        carry, last = body(carry, take(rest))
        totals = jax.tree.map(jnp.add, totals, last) if count else last
    return carry, totals


def weigh(metrics: Metrics, weight: Array) -> dict[str, Array]:
    """Metrics times their weight; where it is zero, zero even for a NaN."""
    weighed = {k: jnp.where(weight > 0, v * weight, 0.0) for k, v in metrics.items()}
    return weighed | {"weight": weight}


def means(totals: Metrics) -> dict[str, Array]:
    """From sums of weighed metrics to their means; NaN where no step counted."""
    return {
        name: value if name == "skipped_steps" else value / totals["weight"]
        for name, value in totals.items()
        if name != "weight"
    }
