"""The few types that all parts of the library meet at.

A model turns a batch into a `Trace`; an objective reads the trace and knows nothing of
the networks; a recipe names the parts. Shape letters: `k` samples of the latent code,
`b` examples, `d` latent dimensions; `...` stands for the shape of one example.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, PyTree, Shaped
from numpyro.distributions import Distribution

Params = PyTree[Array]
Variables = Mapping[str, Any]
"""Flax collections: "params", and what else the model keeps, as "batch_stats"."""

Batch = Mapping[str, Array]
"""`"x"` [b, ...]; where there are any `"label"` [b] and `"weight"` [b].

The train step adds `"inputs"` (the damaged `x`) and, where the corruption has one,
`"mask"` before the model sees the batch.
"""

Prepare = Callable[[jax.Array, Array], Array]
"""(key, stored values) -> the values in [0, 1] that a model explains."""

Corruption = Callable[[jax.Array, Array], tuple[Array, Array | None]]
"""(key, x) -> (damaged x, mask). The mask is True where `x` was removed, or None."""


class Latent(NamedTuple):
    """What a bottleneck returns.

    Attributes:
        z: `K` samples of the code; `K` = 1 for deterministic codes.
        posterior: q(z | x), batch shape [b]; None for deterministic codes.
        prior: p(z), batch shape [b]; None where the family has none.
        penalty: What the code costs beside the objective, per example, in the unit that
            the bottleneck documents.
        info: For reading only, such as code indices.
    """

    z: Shaped[Array, "k b ..."]
    posterior: Distribution | None
    prior: Distribution | None
    penalty: Float[Array, " b"]
    info: Mapping[str, Array]


class Trace(NamedTuple):
    """What a model returns, and all that an objective sees of it.

    Attributes:
        inputs: What the encoder saw (damaged).
        target: What the model must explain (clean).
        mask: True where the corruption removed the target, broadcastable to it, or
            None.
        likelihood: p(x | z) with batch shape [k, b] and the event shape of the target.
        latents: One for flat models; top first for hierarchical ones.
    """

    inputs: Float[Array, "b ..."]
    target: Float[Array, "b ..."]
    mask: Bool[Array, "b ..."] | None
    likelihood: Distribution
    latents: tuple[Latent, ...]


class Context(NamedTuple):
    """What an objective may use beside the trace: its own key and the step's number."""

    key: jax.Array
    step: Array


class Objective(NamedTuple):
    """A pair of pure functions, as in optax. Stateless objectives have empty params.

    Attributes:
        init: (key, trace) -> params, such as a critic's.
        loss: (params, trace, context) -> (loss [b], {metric: [b]}). Both in nats per
            example unless the objective says otherwise; the mean is the train step's.
    """

    init: Callable[[jax.Array, Trace], Params]
    loss: Callable[[Params, Trace, Context], tuple[Array, Mapping[str, Array]]]


class Recipe(NamedTuple):
    """A family of auto-encoders as a choice of parts.

    Attributes:
        model: A linen module with the methods of `jaxae.AutoEncoder`.
        objective: What is minimised.
        prepare: From stored values to the target: `unit_interval` or `binarize`.
        corruption: What damages the target before the encoder sees it.
        num_samples: `K`, the samples of the code per example and step.
    """

    model: nn.Module
    objective: Objective
    prepare: Prepare
    corruption: Corruption
    num_samples: int = 1


class Model(NamedTuple):
    """A recipe with its variables: what `encode`, `sample` or `evaluate` work on."""

    recipe: Recipe
    variables: Variables
