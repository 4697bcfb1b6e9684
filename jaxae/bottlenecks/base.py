"""What all bottlenecks say of themselves."""

from typing import ClassVar

import jax
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution

from jaxae.types import Latent
from jaxae.values import Module


class Bottleneck(Module):
    """Base of the bottlenecks: features h -> `Latent`.

    Attributes:
        stochastic: Whether there is a posterior, and a prior unless the model has one.
    """

    stochastic: ClassVar[bool] = False

    @property
    def has_prior(self) -> bool:
        """Whether there is a p(z) to draw codes from."""
        return self.stochastic

    @property
    def num_codes(self) -> int:
        """How many values an entry of `Latent.indices` may have; 0 without indices."""
        return 0

    @property
    def num_codebooks(self) -> int:
        """Above 1, the last axis of `Latent.indices` says which one of them."""
        return 1

    def __call__(
        self,
        h: Float[Array, "b ..."],
        key: jax.Array,
        *,
        num_samples: int = 1,
        train: bool = False,
    ) -> Latent:
        """The code of every example, `num_samples` of it if it is random."""
        raise NotImplementedError

    def prior(self) -> Distribution:
        """p(z) with batch shape [1, 1], of a bottleneck that has one."""
        raise NotImplementedError

    def constrain(self, z: Float[Array, "k b ..."]) -> Float[Array, "k b ..."]:
        """The nearest code, where not every z is one."""
        return z

    def embed(self, indices: Int[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The z of whole numbers, of a discrete bottleneck."""
        raise NotImplementedError
