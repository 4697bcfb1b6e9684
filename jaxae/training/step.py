"""The one train step of all families."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from jaxae.training.batch import MODEL, OBJECTIVE, model_batch, weighted_mean
from jaxae.training.state import TrainState
from jaxae.types import Batch, Context, Params, Recipe, Variables

Metrics = Mapping[str, Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    recipe: Recipe, tx: optax.GradientTransformation, axis_name: str | None = None
) -> Step:
    """The pure function (state, batch) -> (state, metrics): a gradient and an update.

    An update whose loss or gradient is not finite is left out, and counted.

    Args:
        recipe: The family.
        tx: The optimizer that the state was made with.
        axis_name: The mapped axis under pmap, over which gradients, metrics and
            collections are averaged and the noise differs; devices count alike,
            whatever their examples weigh. Under jit leave it out: the batch is then the
            global one on any number of devices.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        loss_fn = jax.value_and_grad(batch_loss, has_aux=True, argnums=1)
        (loss, (metrics, collections)), grads = loss_fn(
            recipe, state.params, state.collections, batch, key, state.step
        )
        if axis_name is not None:
            loss, metrics, collections, grads = jax.lax.pmean(
                (loss, metrics, collections, grads), axis_name
            )
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)

        def update() -> tuple[Params, Variables, PyTree]:
            # optax raises floats to integer powers, which strict promotion forbids.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = tx.update(grads, state.opt_state, state.params)
            return optax.apply_updates(state.params, updates), collections, opt_state

        def keep() -> tuple[Params, Variables, PyTree]:
            return state.params, state.collections, state.opt_state

        # A branch, as choosing between the old and the new arrays would cost a tenth
        # of a small model's step.
        params, collections, opt_state = jax.lax.cond(finite, update, keep)
        skipped = jnp.where(finite, 0, state.skipped_in_row + 1)
        metrics = {"loss": loss, **metrics, "grad_norm": grad_norm}
        state = TrainState(
            state.step + 1, state.key, params, collections, opt_state, skipped
        )
        return state, metrics

    return step


def batch_loss(
    recipe: Recipe,
    params: dict[str, Params],
    collections: Variables,
    batch: Batch,
    key: jax.Array,
    step: Array,
    train: bool = True,
) -> tuple[Array, tuple[Metrics, Variables]]:
    """The mean loss of a stored batch, with (mean metrics, new collections)."""
    seen = model_batch(recipe, batch, key)
    trace, collections = recipe.model.apply(
        {"params": params["model"], **collections},
        seen,
        jax.random.fold_in(key, MODEL),
        num_samples=recipe.num_samples,
        train=train,
        mutable=list(collections) if train else [],
    )
    context = Context(jax.random.fold_in(key, OBJECTIVE), step)
    loss, metrics = recipe.objective.loss(params["objective"], trace, context)
    means = {name: weighted_mean(value, seen) for name, value in metrics.items()}
    return weighted_mean(loss, seen), (means, collections)
