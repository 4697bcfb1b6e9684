"""The contractive penalty: the squared Jacobian of the code (Rifai et al. 2011)."""

from __future__ import annotations  # help() shows names, not types

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import settle
from jaxae.errors import check_choice
from jaxae.objectives.base import Loss, Objective, Weight, as_weight, weight_at
from jaxae.types import Context, Latent, Params, Trace

Estimator = Literal["exact", "hutchinson"]


class Contraction(Objective):
    """weight · ||∂ code / ∂ inputs||_F² of every example (Rifai et al. 2011).

    The code is the one without noise, of all latents together, as outside training.
    The metric `contraction` is the squared norm itself, in squared units of the code
    per squared unit of the inputs.

    Attributes:
        weight: A number or a schedule.
        estimator: "exact" goes back through the encoder once per latent dimension;
            "hutchinson" once, with a random sign for every dimension: E ||vᵀJ||² =
            ||J||_F².

    Raises:
        ValueError: `weight` is negative or `estimator` unknown.
    """

    weight: Weight
    estimator: Estimator = "exact"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        settle(self, as_weight, "weight")
        check_choice("estimator", self.estimator, Estimator)

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The weighed squared norm."""
        norm = _squared_norm(trace, context, self.estimator)
        return weight_at(self.weight, context.step) * norm, {"contraction": norm}


def _squared_norm(
    trace: Trace, context: Context, estimator: Estimator
) -> Float[Array, " b"]:
    def code(inputs: Array) -> Float[Array, "b d"]:
        return _flat_means(context.encode(context.params, inputs))

    # What stands for missing values is not what a code varies with.
    filled = context.batch.get("filled")

    # No example depends on another outside training, so that one product with the
    # batch's transposed Jacobian serves all examples.
    means, back = jax.vjp(code, trace.inputs)

    def row_norm(cotangent: Float[Array, "b d"]) -> Float[Array, " b"]:
        (row,) = back(cotangent)
        row = row if filled is None else jnp.where(filled, 0.0, row)
        return jnp.square(row).reshape(row.shape[0], -1).sum(axis=-1)

    if estimator == "hutchinson":
        return row_norm(jax.random.rademacher(context.key, means.shape, means.dtype))
    basis = jnp.eye(means.shape[1], dtype=means.dtype)
    rows = jnp.broadcast_to(basis[:, None], (basis.shape[0], *means.shape))
    return jax.vmap(row_norm)(rows).sum(axis=0)


def _flat_means(latents: tuple[Latent, ...]) -> Float[Array, "b d"]:
    means = [u.mean.reshape(u.mean.shape[0], -1) for u in latents]
    return jnp.concatenate(means, axis=-1)
