"""The objective of the classic, the denoising and the inpainting auto-encoder."""

from __future__ import annotations  # help() shows names, not types

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from numpyro.distributions import Independent

from jaxae.checks import settle
from jaxae.errors import ArgumentError, check_choice, given, require
from jaxae.objectives.base import (
    Loss,
    Objective,
    Region,
    Weight,
    as_weight,
    weight_at,
)
from jaxae.types import Context, Params, Trace


def counted(
    region: Region, mask: Array | None, missing: Array | None
) -> Bool[Array, "b ..."] | None:
    """True for the values of x that a loss counts; None where it counts all.

    Raises:
        ValueError: `region` needs a mask and there is none.
    """
    known = None if missing is None else ~missing
    if region == "all":
        return known
    none = f"region must be 'all' where the corruption has no mask, got {region!r}"
    mask = given(mask, none)
    inside = mask if region == "hole" else ~mask
    return inside if known is None else inside & known


def log_likelihood(trace: Trace, region: Region = "all") -> Float[Array, "k b"]:
    """log p(x | z) in nats, of all known values or of those in the hole or outside it.

    Raises:
        ValueError: `region` is unknown, or needs a mask and the trace has none.
    """
    check_choice("region", region, Region)
    counts = counted(region, trace.mask, trace.missing)
    if counts is None:
        return jnp.asarray(trace.likelihood.log_prob(trace.target))
    came, shape = jnp.shape(counts), trace.target.shape
    fits = all(own in (1, size) for own, size in zip(came, shape, strict=True))
    require(fits, "the mask", came, f"that of x, {shape}, for region {region!r}")
    likelihood = trace.likelihood
    single = "a likelihood must have a density of every value where some don't count"
    if not isinstance(likelihood, Independent):
        raise ArgumentError(f"{single}, got {type(likelihood).__name__}")
    per_value = jnp.asarray(likelihood.base_dist.log_prob(trace.target))
    inside = jnp.broadcast_to(counts[None], per_value.shape)
    # where, not a product: a value outside the region may be infinite.
    values = jnp.where(inside, per_value, 0.0)
    return values.sum(axis=tuple(range(2, values.ndim)))


def penalty(trace: Trace) -> Float[Array, " b"]:
    """The sum of what the bottlenecks charge."""
    charged = [u.penalty for u in trace.latents if u.penalty is not None]
    return sum(charged, jnp.zeros(trace.target.shape[0], jnp.float32))


class Reconstruction(Objective):
    """-log p(x | z), averaged over the samples, plus the bottleneck's penalty.

    Under a Gaussian of std 1 this is half the squared error plus a constant.

    Attributes:
        region: Which values count when the corruption removed some.
        penalty_weight: Of the bottleneck's penalty: a number or a schedule.

    Raises:
        ValueError: The weight is negative; see also `log_likelihood`, said when the
            objective first sees a trace.
    """

    region: Region = "all"
    penalty_weight: Weight = 1.0

    def __post_init__(self) -> None:
        """Checks the arguments."""
        check_choice("region", self.region, Region)
        settle(self, as_weight, "penalty_weight")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The distortion and the charge."""
        distortion = -log_likelihood(trace, self.region).mean(axis=0)
        charge = weight_at(self.penalty_weight, context.step) * penalty(trace)
        return distortion + charge, {
            "distortion_nats": distortion,
            "penalty_nats": charge,
        }
