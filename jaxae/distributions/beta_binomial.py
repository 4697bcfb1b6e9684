# numpyro declares its parameters as lazy properties of any array-like, NumPy's too.
# pyright: reportOperatorIssue=false, reportMissingParameterType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false
"""The beta-binomial distribution over grey levels, see `GreyBetaBinomial`."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes

from jaxae.distributions.levels import LEVELS, grey_levels

_TOP = LEVELS - 1.0
_FAR = 8.0  # from where on three terms of Stirling's series have float32's precision


class GreyBetaBinomial(dist.Distribution):
    """Levels k/255, with k of 255 draws whose probability is Beta(α, β).

    P(k) = C(255, k) B(k + α, 255 - k + β) / B(α, β); the parameters are log α and
    log β.
    """

    arg_constraints: ClassVar = {
        "log_alpha": constraints.real,
        "log_beta": constraints.real,
    }
    support = grey_levels(LEVELS)

    def __init__(self, log_alpha: Array, log_beta: Array) -> None:
        """Both of one shape."""
        self.log_alpha, self.log_beta = log_alpha, log_beta
        super().__init__(batch_shape=jnp.shape(log_alpha), validate_args=False)

    def log_prob(self, value, intermediates=None):
        """Per value, in nats: [k, b, ...]."""
        value, alpha, beta = promote_shapes(
            value, jnp.exp(self.log_alpha), jnp.exp(self.log_beta)
        )
        k = jnp.round(value * _TOP)
        rest, total = _TOP - k, alpha + beta
        # The gamma functions by Stirling's formula, whose large terms cancel here, and
        # what it leaves out.
        trials = total + _TOP
        binomial = (
            _choices(k)
            + k * jnp.log1p(alpha / jnp.maximum(k, 1.0))
            + rest * jnp.log1p(beta / jnp.maximum(rest, 1.0))
            - _TOP * jnp.log1p(total / _TOP)
        )
        spread = (
            (alpha - 0.5) * jnp.log1p(k / alpha)
            + (beta - 0.5) * jnp.log1p(rest / beta)
            - (total - 0.5) * jnp.log1p(_TOP / total)
        )
        left = (
            (_left_out(alpha + k) - _left_out(alpha))
            + (_left_out(beta + rest) - _left_out(beta))
            - (_left_out(trials) - _left_out(total))
        )
        return binomial + spread + left

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, k, b, ...]."""
        chance_key, count_key = jax.random.split(key)
        shape = sample_shape + self.log_alpha.shape
        alpha, beta = (
            jnp.broadcast_to(jnp.exp(log), shape)
            for log in (self.log_alpha, self.log_beta)
        )
        chance = jax.random.beta(chance_key, alpha, beta)
        return jax.random.binomial(count_key, _TOP, chance) / _TOP

    @property
    def mean(self):
        """The exact mean, [k, b, ...]: α / (α + β)."""
        return jax.nn.sigmoid(self.log_alpha - self.log_beta)


def _choices(k: Array) -> Array:
    """log C(n, k) + k log k + (n - k) log(n - k) - n log n of n = 255, by a table."""
    n = LEVELS - 1
    terms = [i * math.log(max(i, 1)) for i in range(LEVELS)]
    table = [
        math.log(math.comb(n, i)) + terms[i] + terms[n - i] - terms[n]
        for i in range(LEVELS)
    ]
    return jnp.asarray(np.array(table), k.dtype)[k.astype(jnp.int32)]


def _left_out(x: Array) -> Array:
    """log Γ(x) - ((x - ½) log x - x + ½ log 2π)."""
    near, far = jnp.minimum(x, _FAR), jnp.maximum(x, _FAR)
    stirling = (near - 0.5) * jnp.log(near) - near + 0.5 * math.log(2.0 * math.pi)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / jnp.square(far)) / jnp.square(far)) / far
    return jnp.where(x < _FAR, jax.lax.lgamma(near) - stirling, series)
