"""A posterior with heavy tails."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.bottlenecks.gaussian import standard_normal
from jaxae.checks import check_count
from jaxae.likelihoods import student_t
from jaxae.types import Latent


class StudentT(Bottleneck):
    """q(z | x) = Π_j t(z_j; loc_j, scale_j, 3 + softplus(n_j)), with the prior N(0, I).

    As a proposal of importance sampling it does not miss where the true posterior is
    wide: Domke & Sheldon (2018), https://arxiv.org/abs/1808.09034; Mattei &
    Frellsen (2019), "MIWAE". There is no closed form of its KL divergence.

    Attributes:
        latent_dim: d, the number of latent dimensions.

    Raises:
        ValueError: `latent_dim` is below 1.
    """

    stochastic = True

    latent_dim: int

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim)
        super().__post_init__()

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """The mean [b, latent_dim] and the posterior."""
        del weight
        outputs = nn.Dense(3 * self.latent_dim)(flat(h))
        mean, scale, freedom = jnp.split(outputs, 3, axis=-1)
        each = student_t(mean[None], jax.nn.softplus(scale)[None], freedom[None])
        return exact(mean, posterior=each.to_event(1), prior=self.prior())

    def prior(self) -> Distribution:
        """p(z) = N(0, I)."""
        return standard_normal(self.latent_dim)
