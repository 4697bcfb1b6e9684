"""The bottleneck of the hyperspherical variational auto-encoder."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.checks import check_count
from jaxae.distributions import spherical
from jaxae.types import Latent


class VonMisesFisher(Bottleneck):
    """q(z | x) = vMF(μ, κ) with the uniform prior on the sphere (Davidson et al. 2018).

    Codes are unit vectors, the mean code is the mean direction μ, and
    κ = softplus(·) + 1. Densities are relative to the sphere's surface measure.

    Attributes:
        latent_dim: d, the dimensions of the space around the sphere: the code has
            d - 1 degrees of freedom.

    Raises:
        ValueError: `latent_dim` is below 2.
    """

    stochastic = True

    latent_dim: int

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim, least=2)
        super().__post_init__()

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """The mean direction [b, latent_dim] and the posterior."""
        del weight
        h = flat(h)
        mean = self.constrain(nn.Dense(self.latent_dim)(h)[None])[0]
        concentration = jax.nn.softplus(nn.Dense(1)(h)[:, 0]) + 1.0
        posterior = spherical.VonMisesFisher(mean[None], concentration[None])
        metrics = {"concentration": concentration}
        return exact(mean, posterior=posterior, prior=self.prior(), metrics=metrics)

    def constrain(self, z: Float[Array, "k b d"]) -> Float[Array, "k b d"]:
        """On the sphere; the floor keeps the gradient finite at 0."""
        square = jnp.square(z).sum(axis=-1, keepdims=True)
        return z * jax.lax.rsqrt(jnp.maximum(square, 1e-12))

    def prior(self) -> Distribution:
        """Uniform on the unit sphere."""
        return spherical.SphereUniform(self.latent_dim, (1, 1))
