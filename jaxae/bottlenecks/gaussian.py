"""The bottleneck of the variational auto-encoder."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.checks import as_range, check_count, settle
from jaxae.distributions.elementwise import Normal
from jaxae.types import Latent


class Gaussian(Bottleneck):
    """q(z | x) = N(mean, diag(std²)) with the prior N(0, I) (Kingma & Welling 2014).

    A sample is z = mean + std · ε with ε ~ N(0, I): gradients reach the mean and the
    standard deviation, and ε has none.

    Attributes:
        latent_dim: d, the number of latent dimensions.
        log_std_range: Clamps log std to (lowest, highest); None for no clamp.

    Raises:
        ValueError: `latent_dim` is below 1, or the range is not an increasing pair.
    """

    stochastic = True

    latent_dim: int
    log_std_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim)
        if self.log_std_range is not None:
            settle(self, as_range, "log_std_range")
        super().__post_init__()

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """The mean [b, latent_dim] and the posterior."""
        del weight
        mean, log_std = jnp.split(nn.Dense(2 * self.latent_dim)(flat(h)), 2, axis=-1)
        if self.log_std_range is not None:
            log_std = jnp.clip(log_std, *self.log_std_range)
        posterior = Normal.from_log_scale(mean[None], log_std[None]).to_event(1)
        return exact(mean, posterior=posterior, prior=self.prior())

    def prior(self) -> Distribution:
        """p(z) = N(0, I)."""
        return standard_normal(self.latent_dim)


def diagonal_normal(mean: Float[Array, "... d"], std: Array) -> Distribution:
    """N(mean, diag(std²)) with one event axis."""
    return Normal(mean, std).to_event(1)


def standard_normal(latent_dim: int) -> Distribution:
    """N(0, I) with batch shape [1, 1]."""
    shape = (1, 1, latent_dim)
    zeros = jnp.zeros(shape, jnp.float32)
    return diagonal_normal(zeros, jnp.ones_like(zeros))
