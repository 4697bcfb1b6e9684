"""Averages of the weights over the steps, which are often better than the last ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxae.averages import running_mean
from jaxae.checks import as_finite
from jaxae.errors import require
from jaxae.types import Params, TrainState


class AveragedState(NamedTuple):
    """The state of `average_weights`.

    Attributes:
        inner: Of the optimizer.
        mean: Of the parameters after each of its steps.
        mass: The sum of their shares.
    """

    inner: PyTree
    mean: Params
    mass: Float[Array, ""]


def average_weights(
    tx: optax.GradientTransformation, decay: float = 0.999
) -> optax.GradientTransformationExtraArgs:
    """`tx`, and beside it a running mean of the parameters.

    Training goes on with the parameters; `fit` validates with the mean, and it is what
    models have, beside the running statistics of batch normalisation, which are those
    of the parameters in training. Step i of n counts decayⁿ⁻ⁱ, so that the start has no
    part in it.

    Args:
        tx: Any optimizer; the average is to be outermost.
        decay: At 0.999 about the last thousand steps count; at 1 all do alike (Polyak &
            Juditsky 1992, https://doi.org/10.1137/0330046).

    Raises:
        ValueError: `decay` is not above 0 and at most 1.

    Example:
        >>> import jax, numpy as np, optax, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> tx = jaxae.training.average_weights(optax.adam(1e-3), decay=0.99)
        >>> fitted = jaxae.fit(
        ...     recipe, x, key=jax.random.key(0), epochs=1, tx=tx, progress=False
        ... )
    """
    decay = as_finite("decay", decay)
    require(0 < decay <= 1, "decay", decay, "above 0 and at most 1")
    inner = optax.with_extra_args_support(tx)

    def init(params: Params) -> AveragedState:
        # A copy: a state whose leaves share a buffer cannot be donated.
        mean = jax.tree.map(jnp.copy, params)
        return AveragedState(inner.init(params), mean, jnp.zeros((), jnp.float32))

    def update(
        updates: Params, state: AveragedState, params: Params, **extra: Any
    ) -> tuple[Params, AveragedState]:
        updates, own = inner.update(updates, state.inner, params, **extra)
        new = optax.apply_updates(params, updates)
        mean, mass = running_mean(state.mean, new, state.mass, decay)
        return updates, AveragedState(own, mean, mass)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def params_in_use(state: TrainState) -> dict[str, Any]:
    """Those that a model has: averaged where the optimizer keeps an average.

    That of `average_weights`, or of optax.contrib's schedule-free optimizers.
    """
    own = isinstance(state.opt_state, dict) and state.opt_state.keys()
    if own == state.params.keys():  # a player's own optimizer for each
        return {k: _average(state.opt_state[k], v) for k, v in state.params.items()}
    return _average(state.opt_state, state.params)


def _average(opt_state: PyTree, params: PyTree) -> PyTree:
    kinds = AveragedState | optax.contrib.ScheduleFreeState
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kinds))
    for node in nodes:
        if isinstance(node, AveragedState):
            return node.mean
        if isinstance(node, optax.contrib.ScheduleFreeState):
            return optax.contrib.schedule_free_eval_params(node, params)
    return params
