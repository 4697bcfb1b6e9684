"""The bottleneck of the variational auto-encoder."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, Normal

from jaxae.checks import check_count
from jaxae.errors import require
from jaxae.types import Latent


class Gaussian(nn.Module):
    """q(z | x) = N(mean, diag(std²)) with the prior N(0, I) (Kingma & Welling 2014).

    A sample is z = mean + std · ε with ε ~ N(0, I): gradients reach the mean and the
    standard deviation, and ε has none.

    Attributes:
        latent_dim: d, the number of latent dimensions.
        log_std_range: Clamps log std to (lowest, highest); None for no clamp.

    Raises:
        ValueError: `latent_dim` is below 1, or the range is not an increasing pair.
    """

    latent_dim: int
    log_std_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim)
        limits = self.log_std_range
        require(
            limits is None or limits[0] < limits[1],
            "log_std_range",
            limits,
            "None or (lowest, highest)",
        )
        super().__post_init__()

    @nn.compact
    def __call__(
        self, h: Float[Array, "b ..."], key: jax.Array, *, num_samples: int = 1
    ) -> Latent:
        """Draws `num_samples` codes per example: z [num_samples, b, latent_dim]."""
        h = h.reshape(h.shape[0], -1)
        mean, log_std = jnp.split(nn.Dense(2 * self.latent_dim)(h), 2, axis=-1)
        if self.log_std_range is not None:
            log_std = jnp.clip(log_std, *self.log_std_range)
        std = jnp.exp(log_std)
        epsilon = jax.random.normal(key, (num_samples, *mean.shape), mean.dtype)
        z = mean[None] + std[None] * epsilon
        posterior = Normal(mean, std, validate_args=False).to_event(1)
        nothing = jnp.zeros(mean.shape[0], mean.dtype)
        return Latent(z, posterior, self.prior(mean.shape[0]), nothing, {})

    def prior(self, count: int) -> Distribution:
        """p(z) = N(0, I) with batch shape [count]."""
        shape = (count, self.latent_dim)
        standard = Normal(jnp.zeros(shape), jnp.ones(shape), validate_args=False)
        return standard.to_event(1)
