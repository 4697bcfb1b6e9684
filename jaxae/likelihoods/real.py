"""For real numbers."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from numpyro.distributions import Distribution

from jaxae.averages import running_mean, weighted_mean
from jaxae.distributions import elementwise as distributions
from jaxae.distributions import student
from jaxae.likelihoods.base import (
    MIN_LOG_SCALE,
    REAL,
    Likelihood,
    Target,
    check_scale,
    scale_of,
)

VARIANCE_MOMENTUM = 0.9
"""Decay of `Gaussian("optimal")`'s mean: what a batch counts beside the next."""


class Gaussian(Likelihood):
    """Real values with Gaussian noise; the decoder puts out the mean itself.

    Attributes:
        std: One of
            a positive number: fixed. 1 is half the squared error, plus a constant;
            "shared": one learned number, 1 at first;
            "per_value": the decoder puts out (mean, log_std) for every value;
            "optimal": the maximum-likelihood variance, which is the mean squared error
            over samples, batch and values (Rybkin et al. 2021, sigma-VAE, section 4.2).
            While training it is that of the batch, as a constant: by the envelope
            theorem the gradient is that of the profiled likelihood. Otherwise it is its
            running mean (`VARIANCE_MOMENTUM`; 1 before training), which training keeps
            in the variable collection "statistics", to be passed as mutable.

    A learned log standard deviation l stands for e^l + e^-6, so that `MIN_LOG_SCALE` is
    a smooth floor; an optimal variance has its floor there, too.

    Raises:
        ValueError: `std` is none of these.
    """

    values = REAL

    std: float | str = 1.0

    def __post_init__(self) -> None:
        """Checks `std`."""
        check_scale("std", self.std, ("shared", "per_value", "optimal"))
        super().__post_init__()

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 2 if self.std == "per_value" else 1

    @nn.compact
    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        mean = parameters[..., 0]
        if self.std == "optimal":
            return distributions.Normal(mean, jnp.sqrt(self._variance(mean, target)))
        scale = scale_of(self, "std", self.std, parameters)
        return distributions.Normal(mean, scale)

    def _variance(self, mean: Array, target: Target | None) -> Array:
        average = self.variable("statistics", "variance", jnp.ones, (), mean.dtype)
        mass = self.variable("statistics", "mass", jnp.zeros, (), mean.dtype)
        variance = average.value
        if target is not None:
            variance, known = _mean_square(mean, target)
            if not self.is_initializing():
                average.value, mass.value = running_mean(
                    average.value, variance, mass.value, VARIANCE_MOMENTUM, known
                )
        return jnp.maximum(variance, math.exp(2.0 * MIN_LOG_SCALE))


def _mean_square(
    mean: Float[Array, "k b ..."], target: Target
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The mean of (x - mean)² over what counts, as a constant, and if anything does."""
    square = jnp.square(mean - target.x[None])
    counts = jnp.ones((1,) * target.x.ndim, bool)
    counts = counts if target.counted is None else target.counted
    counts = jnp.broadcast_to(counts, target.x.shape)
    axes = tuple(range(1, counts.ndim))
    total = jnp.where(counts[None], square, 0.0).mean(axis=0).sum(axis=axes)
    count = counts.sum(axis=axes).astype(square.dtype)
    share = weighted_mean(count, target.weight)
    variance = weighted_mean(total, target.weight) / jnp.maximum(share, 1e-12)
    return jax.lax.stop_gradient(variance), share > 0


class Laplace(Likelihood):
    """Real values with Laplace noise: the absolute error, divided by the scale.

    Attributes:
        scale: A positive number (fixed), "shared" (one learned number, 1 at first), or
            "per_value" (the decoder puts out (mean, log_scale) for every value).
            Learned ones have the floor of `Gaussian`.

    Raises:
        ValueError: `scale` is none of these.
    """

    values = REAL

    scale: float | str = 1.0

    def __post_init__(self) -> None:
        """Checks `scale`."""
        check_scale("scale", self.scale, ("shared", "per_value"))
        super().__post_init__()

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 2 if self.scale == "per_value" else 1

    @nn.compact
    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        scale = scale_of(self, "scale", self.scale, parameters)
        return distributions.Laplace(parameters[..., 0], scale)


class StudentT(Likelihood):
    """Real values with heavy tails: robust to the odd value that is far off.

    The decoder puts out (loc, s, n) for every value: a scale softplus(s) + 1e-4 and
    3 + softplus(n) degrees of freedom, so that mean and variance exist. As in Mattei &
    Frellsen (2019), "MIWAE", https://proceedings.mlr.press/v97/mattei19a.html.
    """

    values = REAL

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 3

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        loc, scale, freedom = (parameters[..., i] for i in range(3))
        return student_t(loc, jax.nn.softplus(scale) + 1e-4, freedom)


def student_t(loc: Array, scale: Array, freedom: Array) -> Distribution:
    """With 3 + softplus(`freedom`) degrees of freedom."""
    return student.StudentT(3.0 + jax.nn.softplus(freedom), loc, scale)
