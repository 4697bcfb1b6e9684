"""How objectives are made and added up."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.errors import require
from jaxae.types import Context, Objective, Params, Trace

Weight = float | optax.Schedule
"""A number, or an optax schedule: step -> number."""


def weight_at(weight: Weight, step: Array) -> Array:
    """The weight's value at `step`."""
    if not callable(weight):
        return jnp.asarray(weight)
    # Some of optax's schedules mix dtypes, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return jnp.asarray(weight(step))


def log_density(
    distribution: Distribution, samples: Float[Array, "k b ..."]
) -> Float[Array, "k b"]:
    """The log-probability of every sample, in nats, for a batch shape [b]."""
    return jnp.asarray(jax.vmap(distribution.log_prob)(samples))


def stateless(
    loss: Callable[[Trace, Context], tuple[Array, Mapping[str, Array]]],
) -> Objective:
    """An objective without parameters of its own."""
    return Objective(
        init=lambda key, trace: {},
        loss=lambda params, trace, context: loss(trace, context),
    )


def chain(*objectives: Objective) -> Objective:
    """The sum of the objectives' losses, with all their metrics, as in optax.chain.

    Raises:
        ValueError: No objective was given, or two log the same metric.
    """
    require(len(objectives) > 0, "objectives", objectives, "at least one")

    def init(key: jax.Array, trace: Trace) -> Params:
        keys = jax.random.split(key, len(objectives))
        pairs = zip(objectives, keys, strict=True)
        return tuple(objective.init(k, trace) for objective, k in pairs)

    def loss(
        params: Params, trace: Trace, context: Context
    ) -> tuple[Array, Mapping[str, Array]]:
        total = jnp.zeros(trace.target.shape[0])
        metrics: dict[str, Array] = {}
        for i, (objective, own) in enumerate(zip(objectives, params, strict=True)):
            key = jax.random.fold_in(context.key, i)
            value, new = objective.loss(own, trace, context._replace(key=key))
            twice = sorted(metrics.keys() & new.keys())
            require(not twice, "objectives", twice, "parts that log different metrics")
            total, metrics = total + value, {**metrics, **new}
        return total, metrics

    return Objective(init, loss)
