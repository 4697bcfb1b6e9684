"""The objective of sparse auto-encoders."""

from __future__ import annotations  # help() shows names, not types

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.averages import weighted_mean
from jaxae.bottlenecks.sparse import largest
from jaxae.checks import check_count, settle
from jaxae.errors import ensure
from jaxae.objectives.base import (
    Loss,
    Objective,
    Weight,
    as_weight,
    is_zero,
    only_latent,
    weight_at,
)
from jaxae.objectives.reconstruction import log_likelihood, penalty
from jaxae.types import Context, Latent, Params, Trace

Each = Float[Array, " b"]


class SparseReconstruction(Objective):
    """-log p(x | z) plus the weighed penalty and the auxiliary terms of sparse codes.

    Two auxiliary terms, each half a squared error, as is the reconstruction's under the
    Gaussian of std 1:

    - AuxK, weighed by `aux_weight`: what the reconstruction misses, as explained by the
      `k_aux` largest of the dead latents, so that they get gradients (Gao et al. 2024,
      section A.2). As there it is relative to what is missing, of which the batch's
      variance is the unit: it does not fade as the reconstruction gets better. The
      residual is a constant in it. Unlike there the largest count where they are
      negative, too: a latent that no example excites would get no gradient. Needs a
      decoder that is linear.
    - Of gated codes: the reconstruction from the gate alone, by the decoder as a
      constant, which is what teaches the gate (Rajamanoharan et al. 2024, Gated SAE).

    The metric `explained_variance` is 1 - SSE / total variance, both over the batch,
    and 0 for a batch without variance, as that of one example.

    Attributes:
        penalty_weight: Of the bottleneck's penalty: a number or a schedule.
        aux_weight: Of AuxK; 0 for none.
        k_aux: Dead latents that take part for every example; all if there are fewer.

    Raises:
        ValueError: An argument is outside its range, or the bottleneck is not `Sparse`;
            the latter is said when the objective first sees a trace.
    """

    penalty_weight: Weight = 1.0
    aux_weight: Weight = 1 / 32
    k_aux: int = 256

    def __post_init__(self) -> None:
        """Checks the numbers."""
        settle(self, as_weight, "penalty_weight", "aux_weight")
        check_count("k_aux", self.k_aux)

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The distortion, the charge and the auxiliary terms."""
        latent = only_latent(trace)
        ensure("dead" in latent.info, "this objective needs the bottleneck Sparse")
        distortion = -log_likelihood(trace).mean(axis=0)
        charge = weight_at(self.penalty_weight, context.step) * penalty(trace)
        total = distortion + charge
        metrics = {
            "distortion_nats": distortion,
            "penalty_nats": charge,
            "explained_variance": explained_variance(
                trace, context.batch.get("weight")
            ),
        }
        if "gate" in latent.info:
            metrics["gate_loss"] = gate_loss(trace, latent, context)
            total = total + metrics["gate_loss"]
        if not is_zero(self.aux_weight):
            metrics["aux_loss"] = aux_loss(trace, latent, context, self.k_aux)
            weight = weight_at(self.aux_weight, context.step)
            total = total + weight * metrics["aux_loss"]
        return total, metrics


def explained_variance(trace: Trace, weight: Float[Array, " b"] | None = None) -> Each:
    """1 - Σ (x - x̂)² / Σ (x - mean over the batch)², the same for all examples.

    In a batch of equal examples there is nothing to explain: 0.
    """
    error = _mean_square(_residual(trace), weight)
    unexplained = _ratio(error, _variance(trace, weight), otherwise=1.0)
    return jnp.broadcast_to(1.0 - unexplained, trace.target.shape[:1])


def _variance(trace: Trace, weight: Float[Array, " b"] | None) -> Float[Array, ""]:
    """Mean over the batch of |x - mean|², exactly 0 where all examples are equal.

    Of the values that are known: their mean, and their part of the square.
    """
    x = trace.target
    counted = 0 if weight is None else jnp.argmax(weight > 0)
    offset = _known(trace, x - x[counted][None])
    share = weighted_mean(_known(trace, jnp.ones_like(x)), weight)
    mean = weighted_mean(offset, weight) / jnp.maximum(share, 1e-12)
    return _mean_square(_known(trace, offset - mean[None]), weight)


def _known(trace: Trace, values: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """The values, and 0 where x is missing."""
    if trace.missing is None:
        return values
    return jnp.where(trace.missing, 0.0, values)


def _mean_square(
    error: Float[Array, "b ..."], weight: Float[Array, " b"] | None
) -> Float[Array, ""]:
    return weighted_mean(2.0 * _half_square(error), weight)


def _ratio(
    a: Float[Array, ""], b: Float[Array, ""], otherwise: float
) -> Float[Array, ""]:
    """a / b, and `otherwise` where b is 0."""
    some = b > 0
    return jnp.where(some, a / jnp.where(some, b, 1.0), otherwise)


def gate_loss(trace: Trace, latent: Latent, context: Context) -> Each:
    """½ ‖x - decode(gate)‖², with gradients for the gate alone."""
    frozen = jax.lax.stop_gradient(context.params)
    explained = context.decode(frozen, (latent.info["gate"][None],)).mean[0]
    return _half_square(_known(trace, trace.target - explained))


def aux_loss(trace: Trace, latent: Latent, context: Context, k_aux: int) -> Each:
    """½ ‖e - (decode(z_aux) - decode(0))‖² · variance / Σ ‖e‖² with e = x - x̂.

    Zero where no latent is dead.
    """
    dead, pre = latent.info["dead"], latent.info["pre_activations"]
    candidates = jnp.where(jnp.broadcast_to(dead[None], pre.shape), pre, -jnp.inf)
    z = largest(candidates, min(k_aux, pre.shape[-1]))
    # Those below zero too: where none is above, nothing else would raise them.
    z = jnp.where(jnp.isfinite(z), z, 0.0)[None]
    explained = context.decode(context.params, (z,)).mean[0]
    origin = context.decode(context.params, (jnp.zeros_like(z),)).mean[0]
    left = jax.lax.stop_gradient(_residual(trace))
    # Where nothing is left there is nothing to explain.
    weight = context.batch.get("weight")
    squared_error = _mean_square(left, weight)
    scale = _ratio(_variance(trace, weight), squared_error, otherwise=0.0)
    loss = scale * _half_square(left - _known(trace, explained - origin))
    return jnp.where(dead.any(), loss, 0.0)


def _residual(trace: Trace) -> Float[Array, "b ..."]:
    """x - x̂, and 0 where x is missing."""
    return _known(trace, trace.target - trace.likelihood.mean[0])


def _half_square(error: Float[Array, "b ..."]) -> Each:
    return 0.5 * jnp.square(error).reshape(error.shape[0], -1).sum(axis=-1)
