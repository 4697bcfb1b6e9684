"""DIP-VAE: codes whose covariance is the identity (Kumar et al. 2018)."""

from __future__ import annotations  # help() shows names, not types

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.averages import weighted_mean
from jaxae.checks import settle
from jaxae.errors import check_choice
from jaxae.objectives.base import (
    Loss,
    Objective,
    Weight,
    as_weight,
    factorised_normal,
    only_latent,
    weight_at,
)
from jaxae.types import Context, Params, Trace

Kind = Literal["i", "ii"]


class CovariancePenalty(Objective):
    """off_diagonal · Σ_{i≠j} C_ij² + diagonal · Σ_i (C_ii - 1)²: DIP-VAE's term.

    Kumar et al. (2018), equations 6 and 7: https://openreview.net/forum?id=H1kG7GZAW. C
    is estimated from the batch, in which an example of weight w counts as w examples.
    Every example is charged the same, without a unit. For one normal, factorised
    posterior N(μ(x), Σ(x)).

    Metrics: `covariance_off_diagonal` and `covariance_diagonal`, the two sums.

    Attributes:
        kind: "i" takes Cov[μ(x)] for C; "ii" the covariance of the codes themselves,
            Cov[μ(x)] + E[Σ(x)].
        off_diagonal: A number, or a schedule.
        diagonal: Likewise; the paper has ten times the other one for "i", and as much
            as that for "ii".

    Raises:
        ValueError: An argument is outside its range, or, when a trace is first seen,
            the posterior is not as described.
    """

    kind: Kind = "i"
    off_diagonal: Weight = 10.0
    diagonal: Weight = 100.0

    def __post_init__(self) -> None:
        """Checks the arguments."""
        check_choice("kind", self.kind, Kind)
        settle(self, as_weight, "off_diagonal", "diagonal")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The weighed sums, the same for every example."""
        mean, std = (x.mean(axis=0) for x in factorised_normal(only_latent(trace)))
        weight = context.batch.get("weight")
        covariance = _covariance(mean, weight)
        variances = jnp.diagonal(covariance)
        apart = jnp.square(covariance - jnp.diag(variances)).sum()
        if self.kind == "ii":
            variances = variances + weighted_mean(jnp.square(std), weight)
        spread = jnp.square(variances - 1.0).sum()
        total = weight_at(self.off_diagonal, context.step) * apart
        total = total + weight_at(self.diagonal, context.step) * spread
        each, apart, spread = (
            jnp.broadcast_to(value, mean.shape[:1]) for value in (total, apart, spread)
        )
        return each, {"covariance_off_diagonal": apart, "covariance_diagonal": spread}


def _covariance(
    x: Float[Array, "b d"], weight: Float[Array, " b"] | None
) -> Float[Array, "d d"]:
    """With the divisor b, or the sum of the weights."""
    counts = jnp.ones(x.shape[0], x.dtype) if weight is None else weight
    centred = x - weighted_mean(x, weight)[None]
    # What has no weight may be anything.
    centred = jnp.where(counts[:, None] > 0, centred, 0.0)
    weighed = centred * (counts / jnp.maximum(counts.sum(), 1e-12))[:, None]
    return jnp.matmul(weighed.T, centred, precision=jax.lax.Precision.HIGHEST)
