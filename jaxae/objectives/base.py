"""How objectives are made and added up."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree
from numpyro.distributions import Distribution

from jaxae.errors import require
from jaxae.types import Context, Latent, Objective, Params, Trace

Weight = float | Array | optax.Schedule
"""A number, or an optax schedule: step -> number."""


def check_weight(name: str, weight: optax.ScalarOrSchedule) -> None:
    """Raises ValueError unless `weight` is a schedule or at least 0."""
    right = callable(weight) or weight >= 0
    require(right, name, weight, "a schedule or at least 0")


def weight_at(weight: Weight, step: Array) -> Array:
    """The weight's value at `step`."""
    if not callable(weight):
        return jnp.asarray(weight)
    # Some of optax's schedules mix dtypes, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return jnp.asarray(weight(step))


def log_posterior(latent: Latent) -> Float[Array, "k b"]:
    """log q(z | x) of the samples, in nats.

    Raises:
        ValueError: The code is deterministic.
    """
    if latent.log_posterior is not None:
        return latent.log_posterior
    _require_stochastic(latent.posterior)
    assert latent.posterior is not None
    return jnp.asarray(latent.posterior.log_prob(latent.z))


def log_prior(latent: Latent) -> Float[Array, "k b"]:
    """log p(z) of the samples, in nats.

    Raises:
        ValueError: There is no prior.
    """
    _require_stochastic(latent.prior)
    assert latent.prior is not None
    return jnp.asarray(latent.prior.log_prob(latent.z))


def only_latent(trace: Trace) -> Latent:
    """The latent of a flat model.

    Raises:
        ValueError: The model has several latents, or none.
    """
    count = len(trace.latents)
    require(count == 1, "model", f"one with {count} latents", "flat for this objective")
    return trace.latents[0]


def _require_stochastic(distribution: Distribution | None) -> None:
    came = "one without a posterior or a prior"
    found = distribution is not None
    require(found, "bottleneck", came, "stochastic for this objective")


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

    own = any(objective.tx for objective in objectives)
    return Objective(init, loss, partial(_partition, objectives) if own else None)


def _partition(
    objectives: Sequence[Objective], tx: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Each part's own optimizer, or `tx`."""
    return each_its_own(tuple(o.tx(tx) if o.tx else tx for o in objectives))


def each_its_own(optimizers: PyTree) -> optax.GradientTransformation:
    """Optimizers in a tuple or a dictionary, each over the entry at its place.

    Not optax.partition: a transformation there sees the other players' entries, masked,
    so that one partition does not fit inside another.
    """

    def init(params: Params) -> PyTree:
        return _map(lambda tx, own: tx.init(own), optimizers, params)

    def update(
        updates: Params, state: PyTree, params: Params | None = None
    ) -> tuple[Params, PyTree]:
        pairs = _map(
            lambda tx, *own: tx.update(*own), optimizers, updates, state, params
        )
        return (
            _map(lambda _, pair: pair[0], optimizers, pairs),
            _map(lambda _, pair: pair[1], optimizers, pairs),
        )

    return optax.GradientTransformation(init, update)


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, optax.GradientTransformation)


def _map(function: Callable[..., Any], optimizers: PyTree, *trees: PyTree) -> PyTree:
    return jax.tree.map(function, optimizers, *trees, is_leaf=_is_optimizer)
