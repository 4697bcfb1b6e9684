"""The few types that all parts of the library meet at.

A module turns a batch into a `Trace`; an objective reads the trace and knows nothing of
the networks; a recipe (`recipe.py`) names the parts. Shape letters: `k` samples of the
latent code, `b` examples, `d` latent dimensions; `...` stands for the shape of one
example.
"""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped
from numpyro.distributions import Distribution

AnyArray = Array | np.ndarray
"""On a device, on the host, or traced by JAX."""

Params = PyTree[Array]
Variables = Mapping[str, Any]
"""Flax collections: "params", and what else the model keeps, as "batch_stats"."""

Batch = Mapping[str, Array]
"""`"x"` [b, ...]; where there are any `"weight"` [b], `"missing"`, True where `x` isn't
known, `"inputs"`, what the encoder sees for it, and conditions and `"label"`.

Before the model sees a batch the train step damages `"inputs"`, those of the data or
else `x`, and adds `"mask"`: True where the corruption removed something, and where `x`
is missing in the place of inputs.
"""

Prepare = Callable[[jax.Array, Array], Array]
"""(key, stored values) -> x, as a model explains it."""

Corrupt = Callable[[jax.Array, Array], tuple[Array, Array | None]]
"""(key, x) -> (damaged x, mask). The mask is True where `x` was removed, or None."""

Folder = str | PathLike[str]
"""A path of one."""

Which = Literal["best", "last"]
"""An epoch; the best one is that by the recipe's monitor."""


class Latent(NamedTuple):
    """What a bottleneck returns.

    Attributes:
        z: `K` samples of the code; `K` = 1 for deterministic codes.
        mean: The code without noise, what reconstructions are made from.
        posterior: q(z | x), batch shape [1 or k, b]; None for deterministic codes.
        prior: p(z), or p(z | z above), batch shape [1 or k, 1 or b]; None where the
            family has none.
        log_posterior: log q(z | x) of `z` in nats, [k, b], where the rate has to be
            taken at its own samples: of a flow, or under a prior that was drawn with
            them; otherwise None.
        penalty: What the code costs beside the objective, [b], in the unit that the
            bottleneck documents; None for nothing.
        indices: The discrete code as whole numbers, [b, ...], or None.
        metrics: Logged with every step: {name: [b]}.
        info: For objectives and hooks that know the bottleneck.

    Example:
        >>> import jax.numpy as jnp, jaxae
        >>> mean = jnp.zeros((5, 2))
        >>> latent = jaxae.Latent(z=mean[None], mean=mean)
    """

    z: Shaped[Array, "k b ..."]
    mean: Shaped[Array, "b ..."]
    posterior: Distribution | None = None
    prior: Distribution | None = None
    log_posterior: Float[Array, "k b"] | None = None
    penalty: Float[Array, " b"] | None = None
    indices: Int[Array, "b ..."] | None = None
    metrics: Mapping[str, Float[Array, " b"]] = {}
    info: Mapping[str, Array] = {}


class Trace(NamedTuple):
    """What a model returns, and all that an objective sees of it.

    Attributes:
        inputs: What the encoder saw (damaged).
        target: What the model must explain (clean).
        mask: True where the encoder did not see its input, as the corruption removed
            it or it is missing; broadcastable to that, or None.
        likelihood: p(x | z) with batch shape [k, b] and the event shape of the target.
        latents: One for flat models; top first for hierarchical ones.
        missing: True where the target is not known, broadcastable to it, or None.

    Example:
        >>> import jax.numpy as jnp, jaxae
        >>> from numpyro.distributions import Normal
        >>> x, mean = jnp.zeros((5, 6)), jnp.zeros((5, 2))
        >>> latent = jaxae.Latent(z=mean[None], mean=mean)
        >>> likelihood = Normal(x[None], 1.0).to_event(1)
        >>> trace = jaxae.Trace(x, x, None, likelihood, (latent,))
        >>> trace.likelihood.batch_shape, trace.likelihood.event_shape
        ((1, 5), (6,))
    """

    inputs: Float[Array, "b ..."]
    target: Float[Array, "b ..."]
    mask: Bool[Array, "b ..."] | None
    likelihood: Distribution
    latents: tuple[Latent, ...]
    missing: Bool[Array, "b ..."] | None = None


class Context(NamedTuple):
    """What an objective may use beside the trace.

    Attributes:
        key: The objective's own.
        step: Steps done.
        batch: As the model saw it.
        params: The model's parameters.
        encode: (params, inputs) -> latents; the other fields of the batch stay.
        decode: (params, codes) -> p(x | z). Both as outside training: batch
            normalisation takes its running averages.

    Example:
        >>> import jax.numpy as jnp, jaxae
        >>> def code_error(trace, context):  # of what was encoded again
        ...     (again,) = context.encode(context.params, trace.likelihood.mean[0])
        ...     error = again.mean - trace.latents[0].mean
        ...     error = jnp.square(error).sum(axis=-1)
        ...     return error, {"code_error": error}
        >>> objective = jaxae.objectives.Stateless(code_error)
    """

    key: jax.Array
    step: Array
    batch: Batch
    params: Params
    encode: Callable[[Params, Array], tuple[Latent, ...]]
    decode: Callable[[Params, tuple[Array, ...]], Distribution]


class TrainState(NamedTuple):
    """What training carries from step to step: arrays alone.

    It goes through jit, vmap and a checkpoint as it is.

    Attributes:
        step: Steps done, the skipped ones too.
        key: The base of all randomness in training; never changes.
        params: {"model": ..., "objective": ...}.
        collections: What else the model keeps, such as batch statistics.
        opt_state: Of the optimizer over `params`.
        skipped_in_row: Latest updates in a row that were not finite, so not applied.

    Example:
        >>> import jax, jaxae
        >>> def decay(state, observed, key):  # a hook
        ...     smaller = jax.tree.map(lambda p: 0.999 * p, state.params["model"])
        ...     return state._replace(params={**state.params, "model": smaller})
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2).replace(hooks=(decay,))
    """

    step: Int[Array, ""]
    key: jax.Array
    params: dict[str, Params]
    collections: Variables
    opt_state: PyTree
    skipped_in_row: Int[Array, ""]


class Observed(NamedTuple):
    """What a hook sees of a step, as it was before the update.

    Attributes:
        batch: As the model saw it.
        loss: [b].
        info: That of all latents.
        fresh: From parameters to the optimizer's state at the start, for hooks that
            replace some of them.
    """

    batch: Batch
    loss: Float[Array, " b"]
    info: Mapping[str, Array]
    fresh: Callable[[dict[str, Params]], PyTree] | None = None


Hook = Callable[[TrainState, Observed, jax.Array], TrainState]
"""(state after the update, what was seen, key) -> state. `state.step` counts the steps
before this one."""
