"""The one train step of all families."""

from __future__ import annotations  # help() shows names, not types

import inspect
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxae.distributions.sums import sum_last
from jaxae.errors import ensure, kind_of
from jaxae.inputs import check_recipe
from jaxae.recipe import Recipe
from jaxae.training.batch import DEVICE, HOOKS, total_weight
from jaxae.training.gradient import make_gradient
from jaxae.training.loss import Metrics
from jaxae.training.state import optimizer
from jaxae.types import Batch, Hook, Observed, Params, TrainState
from jaxae.values import expression

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    recipe: Recipe,
    tx: optax.GradientTransformation,
    axis_name: str | None = None,
    *,
    accumulate: int = 1,
    remat: bool = False,
    gather: Callable[[Params], Params] | None = None,
) -> Step:
    """The pure function (state, batch) -> (state, metrics): a gradient and an update.

    An update whose loss or gradient is not finite is left out, and counted.

    Args:
        recipe: The family.
        tx: The optimizer that the state was made with.
        axis_name: The mapped axis under pmap, over which gradients, metrics and
            collections are averaged, by the weight of each device's examples, and the
            noise differs. Under jit leave it out: the batch is then the global one on
            any number of devices.
        accumulate: Parts that a batch goes through the model in, one after the other,
            for less memory. Each has noise and batch statistics of its own; collections
            move at every part, hooks see the last one. Of a batch that does not divide
            into so many there are fewer.
        remat: Keep only the outputs of layers for the backward pass, and compute what
            is inside them again: less memory, more time. For compilers that schedule
            by memory, as those of GPU and TPU; XLA's for the CPU by default does not.
        gather: What becomes of the parameters before they are used, see
            `jaxae.training.parallel.gather`.

    Raises:
        ValueError: It is no recipe, or programs cannot be compiled for it.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> import optax
        >>> tx = optax.adam(1e-3)
        >>> batch = {'x': x}
        >>> init = jaxae.training.init_state
        >>> state = init(recipe, tx, batch, jax.random.key(0))
        >>> step = jax.jit(jaxae.make_train_step(recipe, tx), donate_argnums=0)
        >>> state, metrics = step(state, batch)
        >>> int(state.step), metrics['loss'].shape
        (1, ())
    """
    check_recipe(recipe)
    tx = optax.with_extra_args_support(optimizer(recipe, tx))
    gradient = make_gradient(recipe, accumulate=accumulate, remat=remat, gather=gather)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, DEVICE)
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        grads, loss, metrics, collections, seen = gradient(state, batch, key)
        if axis_name is not None:
            mean = _mean_over(axis_name, total_weight(batch))
            loss, metrics, grads = jax.tree.map(mean, (loss, metrics, grads))
            collections = {
                name: jax.tree.map(partial(_agree, axis_name, name, mean), tree)
                for name, tree in collections.items()
            }
        grad_norm = _norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)

        def update() -> TrainState:
            # optax raises floats to integer powers, which strict promotion forbids.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = _update(tx, grads, state, loss)
            params = optax.apply_updates(state.params, updates)
            new = state._replace(
                params=params, collections=collections, opt_state=opt_state
            )
            known = seen._replace(fresh=tx.init)
            return _run_hooks(recipe.hooks, new, known, key, axis_name)

        def keep() -> TrainState:
            return state

        # A branch, as choosing between the old and the new arrays would cost a tenth
        # of a small model's step.
        new = jax.lax.cond(finite, update, keep)
        skipped = jnp.where(finite, 0, state.skipped_in_row + 1)
        metrics = {"loss": loss, **metrics, "grad_norm": grad_norm}
        return new._replace(step=state.step + 1, skipped_in_row=skipped), metrics

    return step


def _update(
    tx: optax.GradientTransformationExtraArgs,
    grads: Params,
    state: TrainState,
    loss: Array,
) -> tuple[Params, Any]:
    """Some want the loss, as optax.contrib.reduce_on_plateau, or the gradient itself.

    Raises:
        ValueError: It wants a function, to look for a step's length along a line.
    """
    known = {"value": loss, "grad": grads}
    taken = inspect.signature(tx.update).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        known = {name: known[name] for name in known.keys() & taken.keys()}
    try:
        return tx.update(grads, state.opt_state, state.params, **known)
    except (TypeError, ValueError) as error:
        functions = ("value_fn", "grad_fn", "obj_fn")
        ensure(
            not any(name in str(error) for name in functions),
            "tx must take a step from one gradient; one that evaluates the loss again, "
            f"as the line search of optax.lbfgs does, can't be used ({error})",
        )
        raise


def _norm(tree: Params) -> Array:
    """The root of the sum of all squares: `optax.tree.norm`, faster on the CPU."""

    def sum_of_squares(x: Array) -> Array:
        return sum_last(jnp.square(x.reshape(x.shape or (1,)))).sum()

    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(reduce(jnp.add, map(sum_of_squares, leaves)))


def _mean_over(axis_name: str, weight: Array) -> Callable[[Array], Array]:
    """The mean over devices, on each of which `weight` is its own."""
    total, devices = jax.lax.psum((weight, 1.0), axis_name)
    share = jnp.where(total > 0, weight / jnp.maximum(total, 1e-12), 1.0 / devices)
    # A device of weight zero may have no mean.
    return lambda x: jax.lax.psum(jnp.where(share > 0, share * x, 0.0), axis_name)


def _agree(
    axis_name: str, collection: str, mean: Callable[[Array], Array], values: Array
) -> Array:
    """One value for all devices: the mean; of whole numbers the largest.

    Of codebooks and the like that of the first device: every one starts and revives
    codes in an order of its own, so that a mean would be one of unrelated codes.
    """
    if collection == "statistics":
        return jax.lax.all_gather(values, axis_name)[0]
    if jnp.issubdtype(values.dtype, jnp.inexact):
        return mean(values)
    return jax.lax.pmax(values, axis_name)


def _form(leaf: Any) -> Any:
    return getattr(leaf, "shape", None), getattr(leaf, "dtype", type(leaf))


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
        new = hook(state, seen, key_hook)
        own = f"hook {expression(hook):.300}"
        kind = isinstance(new, TrainState)
        ensure(kind, f"{own} must return the train state, got {kind_of(new)}")
        forms = jax.tree.map(_form, state), jax.tree.map(_form, new)
        same = "the state's shapes and dtypes"
        ensure(forms[0] == forms[1], f"{own} must keep {same}")
        state = new
    if not hooks or axis_name is None:
        return state
    local = state.params, state.collections, state.opt_state
    first = jax.tree.map(lambda x: jax.lax.all_gather(x, axis_name)[0], local)
    params, collections, opt_state = first
    return state._replace(params=params, collections=collections, opt_state=opt_state)
