"""What all bottlenecks say of themselves."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution

from jaxae.types import Latent
from jaxae.values import Module


class Bottleneck(Module):
    """Base of the bottlenecks: features h -> `Latent`.

    Most say in `code` what is without noise, and leave the samples to this class.

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
        weight: Float[Array, " b"] | None = None,
    ) -> Latent:
        """The code of every example, `num_samples` of it if it is random.

        Args:
            h: Features of the examples.
            key: For what is random.
            num_samples: Samples of random codes; of others there is one.
            train: Whether statistics of the batch are kept.
            weight: How often each example counts where something is taken over the
                batch; None for once.
        """
        del train
        latent = self.code(h, weight)
        if latent.posterior is None:
            return latent
        return latent._replace(z=draw(latent.posterior, key, num_samples))

    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """The code without noise, as of `exact`, and its posterior if it has one."""
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


def flat(h: Float[Array, "b ..."]) -> Float[Array, "b _"]:
    """The features as vectors."""
    return h.reshape(h.shape[0], -1)


def exact(z: Float[Array, "b ..."], **fields: Any) -> Latent:
    """A code without noise: its one sample is itself."""
    return Latent(z[None], z, **fields)


def draw(
    posterior: Distribution, key: jax.Array, num_samples: int
) -> Float[Array, "k b ..."]:
    """`num_samples` codes of every example, from q(z | x) with batch shape [1, b]."""
    return jnp.asarray(posterior.sample(key, (num_samples,)))[:, 0]
