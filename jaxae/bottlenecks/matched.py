"""The bottleneck of auto-encoders whose codes, taken together, follow a prior."""

from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.bottlenecks.gaussian import standard_normal
from jaxae.checks import check_count
from jaxae.types import Latent


class Matched(Bottleneck):
    """A code without noise, linear in the features, with the prior N(0, I).

    There is no posterior, so no bound on p(x): an objective such as
    `objectives.AdversarialPrior` or `objectives.MMD` trains the codes of all examples
    together to match the prior, from which new codes are then drawn (Makhzani et al.
    2015; Tolstikhin et al. 2018).

    Attributes:
        latent_dim: d, the number of latent dimensions.

    Raises:
        ValueError: `latent_dim` is below 1.
    """

    latent_dim: int

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim)
        super().__post_init__()

    @property
    def has_prior(self) -> bool:
        """True: codes are drawn from N(0, I)."""
        return True

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """One code per example: z [1, b, latent_dim]."""
        del weight
        return exact(nn.Dense(self.latent_dim)(flat(h)), prior=self.prior())

    def prior(self) -> Distribution:
        """p(z) = N(0, I)."""
        return standard_normal(self.latent_dim)
