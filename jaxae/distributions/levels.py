# numpyro declares its parameters as lazy properties of any array-like, NumPy's too.
# pyright: reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportMissingParameterType=false
# pyright: reportMissingTypeArgument=false, reportReturnType=false
"""Distributions of levels, whole numbers from 0 on; see `elementwise`."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array
from numpyro import distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes

from jaxae.distributions.elementwise import softplus

LEVELS = 256
"""Levels k/255 of a value stored in eight bits."""

_HALF_LEVEL = 1.0 / (LEVELS - 1)  # on [-1, 1], where two levels are 2/255 apart


class _GreyLevels(constraints.Constraint):
    """The values k / (levels - 1), k = 0 … levels - 1, up to float32's rounding."""

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def __call__(self, x):
        xp = jnp if isinstance(x, jax.Array) else np
        level = x * (self.levels - 1.0)
        on_grid = xp.abs(level - xp.round(level)) < 4e-6 * (self.levels - 1.0)
        return on_grid & (x >= 0.0) & (x <= 1.0)

    def feasible_like(self, prototype):
        return jnp.zeros_like(prototype)

    def tree_flatten(self):
        return (), ((), {"levels": self.levels})

    def eq(self, other, static=False):
        return isinstance(other, _GreyLevels) and self.levels == other.levels


grey_levels = _GreyLevels


class Categorical(dist.Distribution):
    """A free probability for each of the whole numbers 0 … n - 1, as floats.

    `logits`: [k, b, ..., n].
    """

    arg_constraints: ClassVar = {"logits": constraints.real_vector}

    def __init__(self, logits: Array) -> None:
        """`logits` is the only parameter."""
        self.logits = logits
        super().__init__(batch_shape=jnp.shape(logits)[:-1], validate_args=False)

    @property
    def support(self):
        """The constraint that every value has to satisfy."""
        return constraints.integer_interval(0, self.logits.shape[-1] - 1)

    def log_prob(self, value, intermediates=None):
        """Per value, in nats: [k, b, ...]."""
        value, logits = promote_shapes(value[..., None], self.logits)
        level = lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
        # A comparison instead of a gather, whose gradient would be a slow scatter.
        chosen = jnp.round(value).astype(jnp.int32) == level
        picked = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
        return picked - jax.nn.logsumexp(logits, axis=-1)

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, k, b, ...]."""
        logits = self.logits
        logits = jnp.broadcast_to(logits, sample_shape + logits.shape)
        return jax.random.categorical(key, logits).astype(logits.dtype)

    @property
    def mean(self):
        """The exact mean, [k, b, ...]."""
        probs = jax.nn.softmax(self.logits)
        numbers = jnp.arange(self.logits.shape[-1], dtype=self.logits.dtype)
        return jnp.matmul(probs, numbers, precision="highest")


class GreyCategorical(Categorical):
    """A free probability for each of the grey levels k / (n - 1), k = 0 … n - 1."""

    @property
    def support(self):
        """The constraint that every value has to satisfy."""
        return grey_levels(self.logits.shape[-1])

    @property
    def _top(self):
        return self.logits.shape[-1] - 1.0

    def log_prob(self, value, intermediates=None):
        """Per value, in nats: [k, b, ...]."""
        return super().log_prob(value * self._top)

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, k, b, ...]."""
        return super().sample(key, sample_shape) / self._top

    @property
    def mean(self):
        """The exact mean, [k, b, ...]."""
        return super().mean / self._top


class DiscretizedLogisticMixture(dist.Distribution):
    """A mixture of logistics on [-1, 1], rounded to the levels.

    Salimans et al. 2017, equation 2: level k/255, at y = 2k/255 - 1, has the mass of
    y ± 1/255; the lowest and the highest level have the tails, too. All parameters are
    [k, b, ..., components].
    """

    arg_constraints: ClassVar = {
        "logits": constraints.real_vector,
        "means": constraints.real_vector,
        "log_scales": constraints.real_vector,
    }
    support = grey_levels(LEVELS)

    def __init__(self, logits: Array, means: Array, log_scales: Array) -> None:
        """Logits of the weights, means and log scales of the components."""
        self.logits, self.means, self.log_scales = logits, means, log_scales
        super().__init__(batch_shape=jnp.shape(logits)[:-1], validate_args=False)

    def log_prob(self, value, intermediates=None):
        """Per value, in nats: [k, b, ...]."""
        value, logits, means, log_scales = promote_shapes(
            value[..., None], self.logits, self.means, self.log_scales
        )
        inverse = jnp.exp(-log_scales)
        centered = 2.0 * value - 1.0 - means
        upper = (centered + _HALF_LEVEL) * inverse
        lower = (centered - _HALF_LEVEL) * inverse
        lowest, highest = value < 0.5 * _HALF_LEVEL, value > 1.0 - 0.5 * _HALF_LEVEL
        # With s the sigmoid and u, l the bounds, log(s(u) - s(l)) is exactly
        # log(1 - exp(l - u)) - softplus(-u) - softplus(l): no two nearly equal numbers
        # are subtracted, and every term is at most 0.
        width = jnp.log(-jnp.expm1(-2.0 * _HALF_LEVEL * inverse))
        log_mass = (
            jnp.where(lowest | highest, 0.0, width)
            - jnp.where(highest, 0.0, softplus(-upper))
            - jnp.where(lowest, 0.0, softplus(lower))
        )
        log_weights = jax.nn.log_softmax(logits)
        return jax.nn.logsumexp(log_weights + log_mass, axis=-1)

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, k, b, ...]."""
        choice_key, noise_key = jax.random.split(key)
        shape = sample_shape + self.logits.shape
        chosen = jax.random.categorical(
            choice_key, jnp.broadcast_to(self.logits, shape)
        )

        def pick(parameter):
            parameter = jnp.broadcast_to(parameter, shape)
            return jnp.take_along_axis(parameter, chosen[..., None], axis=-1)[..., 0]

        noise = jax.random.logistic(noise_key, shape[:-1], self.means.dtype)
        y = pick(self.means) + jnp.exp(pick(self.log_scales)) * noise
        level = jnp.round((y + 1.0) / (2.0 * _HALF_LEVEL))
        return jnp.clip(level, 0.0, LEVELS - 1.0) / (LEVELS - 1.0)

    @property
    def mean(self):
        """The exact mean, [k, b, ...]."""
        # Summed by parts, E[k] = Σ P(level ≥ k) over k = 1 … 255: exact, with one
        # sigmoid per level, and one level at a time to save memory.
        weights, inverse = jax.nn.softmax(self.logits), jnp.exp(-self.log_scales)

        def add(total, threshold):
            tail = jax.nn.sigmoid((self.means - threshold) * inverse)
            return total + jnp.sum(weights * tail, axis=-1), None

        levels = jnp.arange(1, LEVELS, dtype=self.means.dtype)
        thresholds = (2.0 * levels - 1.0) * _HALF_LEVEL - 1.0
        total, _ = lax.scan(add, jnp.zeros_like(self.means[..., 0]), thresholds)
        return total / (LEVELS - 1.0)
