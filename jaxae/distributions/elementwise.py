# numpyro declares its parameters as lazy properties of any array-like, NumPy's too.
# pyright: reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportMissingParameterType=false
# pyright: reportMissingTypeArgument=false, reportReturnType=false
"""Distributions of single values, for what numpyro lacks or does more slowly.

Parameters have the shape [k, b, ...]; `log_prob` takes values [b, ...] or [k, b, ...]
and lines the axes up from the right by itself, so that all of it works under
`jax_numpy_rank_promotion="raise"`. Arguments are never validated here: numpyro's checks
cost a pass over the data, or wait for the device.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array
from numpyro import distributions as dist
from numpyro.distributions import constraints, kl_divergence
from numpyro.distributions.util import promote_shapes

from jaxae.distributions.sums import sum_last

_LEAST_LOG_SCALE = -87.0  # of what float32 can hold without loss


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


class Event(dist.Independent):
    """`Independent` with a sum over the values of an event that is fast on the CPU."""

    def log_prob(self, value, intermediates=None):
        """The log density of the whole event, in nats: [k, b]."""
        base = self.base_dist
        if isinstance(base, Bernoulli):
            value = jnp.asarray(value, base.logits.dtype)
            value, logits = promote_shapes(value, base.logits)
            return _sum_of_bernoullis(*map(self._flat, self._spread(value, logits)))
        return sum_last(self._flat(base.log_prob(value)))

    def _spread(self, *arrays: Array) -> list[Array]:
        """Broadcast over the axes of the event, and not over those before them."""
        first = arrays[0].ndim - self.reinterpreted_batch_ndims
        event = jnp.broadcast_shapes(*(array.shape[first:] for array in arrays))
        return [jnp.broadcast_to(a, (*a.shape[:first], *event)) for a in arrays]

    def _flat(self, each: Array) -> Array:
        batch = each.shape[: each.ndim - self.reinterpreted_batch_ndims]
        return each.reshape(*batch, -1)


class Bernoulli(dist.BernoulliLogits):
    """Bernoulli over float values 0 and 1. Undefined, not -inf, for other values."""

    def __init__(self, logits: Array) -> None:
        """`logits` is the only parameter."""
        super().__init__(logits, validate_args=False)

    def log_prob(self, value, intermediates=None):
        """Per value, in nats: [k, b, ...]."""
        value, logits = promote_shapes(value, self.logits)
        return value * logits - softplus(logits)

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, k, b, ...]."""
        shape = sample_shape + self.logits.shape
        probs = jnp.broadcast_to(self.probs, shape)
        return jax.random.bernoulli(key, probs).astype(probs.dtype)


@jax.custom_jvp
def _sum_of_bernoullis(x: Array, logits: Array) -> Array:
    """Σ x·l - softplus(l) over the last axis. `x` and `logits` broadcast but there."""
    return lax.platform_dependent(x, logits, cpu=_by_groups, default=_by_values)


def _by_groups(x: Array, logits: Array) -> Array:
    """With one logarithm for up to 8 values: Σ log(1 + e) is log Π (1 + e).

    Logarithms and the memory for single values are what this sum costs on the CPU. The
    factors are between 1 and 2: each is off by at most half a unit in the last place,
    and so, absolutely, is its logarithm, where log1p would keep what is even smaller.
    """
    size = next(g for g in range(8, 0, -1) if logits.shape[-1] % g == 0)
    parts = zip(*(jnp.split(a, size, axis=-1) for a in (x, logits)), strict=True)
    total, product = 0.0, 1.0
    for some_x, some in parts:
        total = total + (some_x * some - jnp.maximum(some, 0.0))
        product = product * (1.0 + jnp.exp(-jnp.abs(some)))
    return sum_last(total - jnp.log(product))


def _by_values(x: Array, logits: Array) -> Array:
    return (x * logits - softplus(logits)).sum(axis=-1)


class GreyBernoulli(Bernoulli):
    """`Bernoulli` taken at grey values in [0, 1].

    `log_prob` is minus the cross-entropy, and exp(log_prob) does not integrate to 1
    over [0, 1]. Samples are 0 or 1, with the same mean.
    """

    support = constraints.unit_interval
    has_enumerate_support = False


class ContinuousBernoulli(dist.Distribution):
    """p(x) ∝ exp(logits · x) on [0, 1] (Loaiza-Ganem & Cunningham 2019).

    With natural parameter l, log p(x) = l·x - A(l) where A(l) = log((eˡ - 1) / l), and
    the mean is the derivative of A.
    """

    arg_constraints: ClassVar = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Array) -> None:
        """`logits` is the only parameter."""
        self.logits = logits
        super().__init__(batch_shape=jnp.shape(logits), validate_args=False)

    def log_prob(self, value, intermediates=None):
        """Per value, in nats: [k, b, ...]."""
        value, logits = promote_shapes(value, self.logits)
        # In this order l·x - max(l, 0) is exact at x = 0 and 1, however large l is.
        return (value * logits - jnp.maximum(logits, 0.0)) - _log_unit_mass(logits)

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, k, b, ...]."""
        u = jax.random.uniform(key, sample_shape + self.logits.shape, self.logits.dtype)
        u, logits = promote_shapes(u, self.logits)
        # The inverse cdf for a negative parameter; the other sign is its mirror image.
        # Below 1e-6 the distribution is uniform to the precision of float32.
        size = jnp.maximum(jnp.abs(logits), 1e-6)
        x = -jnp.log1p(u * jnp.expm1(-size)) / size
        return jnp.clip(jnp.where(logits > 0.0, 1.0 - x, x), 0.0, 1.0)

    @property
    def mean(self):
        """The exact mean, [k, b, ...]."""

        def log_normalizer(logits):
            return jnp.maximum(logits, 0.0) + _log_unit_mass(logits)

        return jax.jvp(log_normalizer, (self.logits,), (jnp.ones_like(self.logits),))[1]


def _log_unit_mass(logits: Array) -> Array:
    """log((1 - exp(-|l|)) / |l|), the log of ∫₀¹ exp(-|l| x) dx.

    Below |l| = 1 by the Taylor series of log(sinh(l/2) / (l/2)), whose first term left
    out is 2e-9 there; the two `where`s keep both branches' gradients finite.
    """
    small = jnp.abs(logits) < 1.0
    near = jnp.where(small, logits, 0.0)
    square = near * near
    series = 1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square / 9676800))
    far = jnp.where(small, 1.0, jnp.abs(logits))
    return jnp.where(
        small,
        # -|l|/2, with the same subgradient at 0 as the callers' max(l, 0).
        square * series + 0.5 * near - jnp.maximum(near, 0.0),
        jnp.log1p(-jnp.exp(-far)) - jnp.log(far),
    )


class _LocationScale:
    """What `Normal` and `Laplace` do otherwise than numpyro's: broadcast explicitly."""

    def __init__(self, loc: Array, scale: Array) -> None:
        """`loc` and `scale` broadcast against each other."""
        super().__init__(loc, scale, validate_args=False)

    def log_prob(self, value, intermediates=None):
        """Per value, in nats: [k, b, ...]."""
        value, loc, log_scale = promote_shapes(value, *_loc_and_log_scale(self))
        return self._standard_log_prob(_scaled(value - loc, log_scale)) - log_scale

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, k, b, ...]."""
        mean = self.mean
        noise = self._noise(key, sample_shape + mean.shape, mean.dtype)
        noise, mean, scale = promote_shapes(noise, mean, self.scale)
        return mean + scale * noise

    @property
    def mean(self):
        """The exact mean, [k, b, ...]."""
        shape = jnp.broadcast_shapes(self.loc.shape, self.scale.shape)
        return jnp.broadcast_to(self.loc, shape)


class Normal(_LocationScale, dist.Normal):
    """Normal with mean `loc` and standard deviation `scale`."""

    log_scale: Array | None = None
    pytree_data_fields = ("log_scale",)

    _noise = staticmethod(jax.random.normal)

    @classmethod
    def from_log_scale(cls, loc: Array, log_scale: Array) -> "Normal":
        """With the standard deviation exp(log_scale), however small that is.

        Densities and the KL divergence take the logarithm as it is, also where
        exp(log_scale) would be 0 in float32. `scale` itself is exp(-87) at least.
        """
        normal = cls(loc, jnp.exp(jnp.maximum(log_scale, _LEAST_LOG_SCALE)))
        normal.log_scale = log_scale
        return normal

    @staticmethod
    def _standard_log_prob(x: Array) -> Array:
        return -0.5 * jnp.square(x) - 0.5 * math.log(2.0 * math.pi)


def _loc_and_log_scale(distribution: dist.Distribution) -> tuple[Array, Array]:
    known = getattr(distribution, "log_scale", None)
    log_scale = jnp.log(distribution.scale) if known is None else known
    return jnp.asarray(distribution.loc), log_scale


def _scaled(offset: Array, log_scale: Array) -> Array:
    """offset / exp(log_scale).

    As a product: the derivative of a quotient, and what XLA makes of one that is
    divided again, have the square of the scale, which is 0 below exp(-44).
    """
    return offset * jnp.exp(-jnp.maximum(log_scale, _LEAST_LOG_SCALE))


@kl_divergence.register(Normal, Normal)
@kl_divergence.register(Normal, dist.Normal)
@kl_divergence.register(dist.Normal, Normal)
def _kl_of_normals(q: dist.Normal, p: dist.Normal) -> Array:
    """½ (r² + t² - 1) - log r, with r the ratio of the scales and t the shift.

    numpyro takes the logarithm of r², which is 0 in float32 for an r below exp(-43.7).
    """
    q_loc, q_log_scale, p_loc, p_log_scale = promote_shapes(
        *_loc_and_log_scale(q), *_loc_and_log_scale(p)
    )
    log_ratio, shift = q_log_scale - p_log_scale, _scaled(q_loc - p_loc, p_log_scale)
    return 0.5 * (jnp.exp(2.0 * log_ratio) + jnp.square(shift) - 1.0) - log_ratio


class Laplace(_LocationScale, dist.Laplace):
    """Laplace with mean `loc` and mean absolute deviation `scale`."""

    _noise = staticmethod(jax.random.laplace)

    @staticmethod
    def _standard_log_prob(x: Array) -> Array:
        return -jnp.abs(x) - math.log(2.0)


# The closed derivative: that of jax.nn.softplus goes through two more exponentials, and
# is wrong in the second order at 0 if left to autodiff of the formula above.
softplus.defjvps(lambda tangent, _, x: jax.nn.sigmoid(x) * tangent)

_sum_of_bernoullis.defjvps(
    lambda tangent, _, x, logits: sum_last(logits * tangent),
    lambda tangent, _, x, logits: sum_last((x - jax.nn.sigmoid(logits)) * tangent),
)
