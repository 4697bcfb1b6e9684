"""Batch normalisation of examples that have weights."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.averages import any_weight, running_mean, weighted_mean
from jaxae.precision import widened

MOMENTUM = 0.9
"""Decay of the running moments: what a batch counts beside the next one.

The layers below learn, so that older moments are those of another function. At 0.99,
which is linen's, the squared error of an MLP auto-encoder outside training was 3.3
times that in training after 30 steps of 20 images, and at 0.9 it was 1.4 times; after
100 steps they were within 10 %.
"""

_EPSILON = 1e-5


class BatchNorm(nn.Module):
    """(x - mean) / √(variance + 1e-5) · scale + bias (Ioffe & Szegedy 2015).

    While training the moments of a channel are those of the batch, where an example
    counts as often as its weight says; otherwise they are their running means, which
    the collection "batch_stats" keeps. Names and shapes are those of
    `flax.linen.BatchNorm`, beside which there is the `mass` of the running means. All
    of it is float32 at least; the result has the dtype of x.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b ... c"],
        *,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b ... c"]:
        shape, wide = x.shape[-1:], widened(x)
        start = {"mean": jnp.zeros, "var": jnp.ones}
        kept = {
            name: self.variable("batch_stats", name, value, shape, jnp.float32)
            for name, value in start.items()
        }
        mass = self.variable("batch_stats", "mass", jnp.zeros, (), jnp.float32)
        moments = {name: variable.value for name, variable in kept.items()}
        if train:
            own = _moments(wide, weight)
            if not self.is_initializing():
                known = any_weight(weight)
                new, mass.value = running_mean(
                    moments, own, mass.value, MOMENTUM, known
                )
                for name, variable in kept.items():
                    variable.value = new[name]
            moments = own
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        slope = scale * jax.lax.rsqrt(moments["var"] + _EPSILON)
        row = (*[1] * (x.ndim - 1), -1)
        centred = wide - moments["mean"].reshape(row)
        return (centred * slope.reshape(row) + bias.reshape(row)).astype(x.dtype)


def _moments(
    x: Float[Array, "b ... c"], weight: Float[Array, " b"] | None
) -> dict[str, Float[Array, " c"]]:
    """Over the examples and their positions."""
    rows = x.reshape(-1, x.shape[-1])
    if weight is not None:
        weight = jnp.repeat(weight, rows.shape[0] // x.shape[0])
    mean = weighted_mean(rows, weight)
    # Not E[x²] - mean², of which little is left where the mean is large.
    return {"mean": mean, "var": weighted_mean(jnp.square(rows - mean[None]), weight)}
