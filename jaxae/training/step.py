"""The one train step of all families."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array
from numpyro.distributions import Distribution

from jaxae.autoencoder import call
from jaxae.training.batch import (
    DROPOUT,
    HOOKS,
    MODEL,
    OBJECTIVE,
    model_batch,
    weighted_mean,
)
from jaxae.training.state import optimizer
from jaxae.types import (
    Batch,
    Context,
    Hook,
    Latent,
    Observed,
    Params,
    Recipe,
    TrainState,
    Variables,
)

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
    tx = optimizer(recipe, tx)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        loss_fn = jax.value_and_grad(batch_loss, has_aux=True, argnums=1)
        (loss, (metrics, collections, seen)), grads = loss_fn(
            recipe, state.params, state.collections, batch, key, state.step
        )
        if axis_name is not None:
            loss, metrics, grads = jax.lax.pmean((loss, metrics, grads), axis_name)
            collections = jax.tree.map(partial(_agree, axis_name), collections)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)

        def update() -> TrainState:
            # optax raises floats to integer powers, which strict promotion forbids.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = tx.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            new = state._replace(
                params=params, collections=collections, opt_state=opt_state
            )
            return _run_hooks(recipe.hooks, new, seen, key, axis_name)

        def keep() -> TrainState:
            return state

        # A branch, as choosing between the old and the new arrays would cost a tenth
        # of a small model's step.
        new = jax.lax.cond(finite, update, keep)
        skipped = jnp.where(finite, 0, state.skipped_in_row + 1)
        metrics = {"loss": loss, **metrics, "grad_norm": grad_norm}
        return new._replace(step=state.step + 1, skipped_in_row=skipped), metrics

    return step


def _agree(axis_name: str, values: Array) -> Array:
    """One value for all devices: the mean; of whole numbers the largest."""
    if jnp.issubdtype(values.dtype, jnp.inexact):
        return jax.lax.pmean(values, axis_name)
    return jax.lax.pmax(values, axis_name)


def _run_hooks(
    hooks: Sequence[Hook],
    state: TrainState,
    seen: Observed,
    key: jax.Array,
    axis_name: str | None,
) -> TrainState:
    """One after the other; under pmap, what the first device makes of its share."""
    for i, hook in enumerate(hooks):
        key_hook = jax.random.fold_in(jax.random.fold_in(key, HOOKS), i)
        state = hook(state, seen, key_hook)
    if not hooks or axis_name is None:
        return state
    local = state.params, state.collections, state.opt_state
    first = jax.tree.map(lambda x: jax.lax.all_gather(x, axis_name)[0], local)
    params, collections, opt_state = first
    return state._replace(params=params, collections=collections, opt_state=opt_state)


def batch_loss(
    recipe: Recipe,
    params: dict[str, Params],
    collections: Variables,
    batch: Batch,
    key: jax.Array,
    step: Array,
    train: bool = True,
) -> tuple[Array, tuple[Metrics, Variables, Observed]]:
    """The mean loss of a stored batch, with (mean metrics, new collections, seen)."""
    seen = model_batch(recipe, batch, key)
    trace, new_collections = recipe.model.apply(
        {"params": params["model"], **collections},
        seen,
        jax.random.fold_in(key, MODEL),
        num_samples=recipe.num_samples,
        train=train,
        mutable=list(collections) if train else [],
        rngs={"dropout": jax.random.fold_in(key, DROPOUT)} if train else None,
    )
    key_objective = jax.random.fold_in(key, OBJECTIVE)
    context = _context(recipe, params, collections, seen, key_objective, step)
    loss, metrics = recipe.objective.loss(params["objective"], trace, context)
    metrics = {**latent_metrics(trace.latents), **metrics}
    means = {name: weighted_mean(value, seen) for name, value in metrics.items()}
    info = {k: v for latent in trace.latents for k, v in latent.info.items()}
    observed = Observed(seen, loss, info)
    return weighted_mean(loss, seen), (means, new_collections, observed)


def latent_metrics(latents: Sequence[Latent]) -> dict[str, Array]:
    """What the bottlenecks log; with the number of the latent if there are several."""
    several = len(latents) > 1
    return {
        f"{name}_{i}" if several else name: value
        for i, latent in enumerate(latents, start=1)
        for name, value in latent.metrics.items()
    }


def _context(
    recipe: Recipe,
    params: dict[str, Params],
    collections: Variables,
    seen: Batch,
    key: jax.Array,
    step: Array,
) -> Context:
    """What objectives may call: the model as a function of its parameters."""

    def encode(params: Params, inputs: Array) -> tuple[Latent, ...]:
        variables = {"params": params, **collections}
        return call(
            recipe.model, variables, {**seen, "inputs": inputs}, key, method="encode"
        )

    def decode(params: Params, codes: tuple[Array, ...]) -> Distribution:
        variables = {"params": params, **collections}
        return call(recipe.model, variables, codes, seen, method="decode")

    return Context(key, step, seen, params["model"], encode, decode)
