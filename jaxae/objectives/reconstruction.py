"""The objective of the classic, the denoising and the inpainting auto-encoder."""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Independent

from jaxae.errors import require
from jaxae.objectives.base import Weight, check_weight, stateless, weight_at
from jaxae.types import Context, Objective, Trace

Region = Literal["all", "hole", "outside"]


def log_likelihood(trace: Trace, region: Region = "all") -> Float[Array, "k b"]:
    """log p(x | z) in nats, of every value or of those in the hole or outside it.

    Raises:
        ValueError: `region` is unknown, or needs a mask and the trace has none.
    """
    require(region in get_args(Region), "region", region, f"one of {get_args(Region)}")
    if region == "all":
        return jnp.asarray(trace.likelihood.log_prob(trace.target))
    mask = trace.mask
    require(mask is not None, "region", region, "'all' if the corruption has no mask")
    assert mask is not None and isinstance(trace.likelihood, Independent)
    counts = mask if region == "hole" else ~mask
    per_value = jnp.asarray(trace.likelihood.base_dist.log_prob(trace.target))
    inside = jnp.broadcast_to(counts[None], per_value.shape)
    # where, not a product: a value outside the region may be infinite.
    values = jnp.where(inside, per_value, 0.0)
    return values.sum(axis=tuple(range(2, values.ndim)))


def penalty(trace: Trace) -> Float[Array, " b"]:
    """The sum of what the bottlenecks charge."""
    charged = [u.penalty for u in trace.latents if u.penalty is not None]
    return sum(charged, jnp.zeros(trace.target.shape[0]))


def reconstruction(
    region: Region = "all", *, penalty_weight: Weight = 1.0
) -> Objective:
    """-log p(x | z), averaged over the samples, plus the bottleneck's penalty.

    Under a Gaussian of std 1 this is half the squared error plus a constant.

    Args:
        region: Which values count when the corruption removed some.
        penalty_weight: Of the bottleneck's penalty: a number or an optax schedule.

    Raises:
        ValueError: The weight is negative; see also `log_likelihood`, said when the
            objective first sees a trace.
    """
    check_weight("penalty_weight", penalty_weight)

    def loss(trace: Trace, context: Context) -> tuple[Array, dict[str, Array]]:
        distortion = -log_likelihood(trace, region).mean(axis=0)
        charge = weight_at(penalty_weight, context.step) * penalty(trace)
        return distortion + charge, {
            "distortion_nats": distortion,
            "penalty_nats": charge,
        }

    return stateless(loss)
