"""The bottleneck of the classic auto-encoder."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.checks import as_finite, check_count, settle
from jaxae.errors import require
from jaxae.types import Latent


class Deterministic(Bottleneck):
    """A code without noise: linear in the features, or the features themselves.

    Attributes:
        latent_dim: The size of the code, which is what limits the information in it;
            None passes the features on as they are, images included.
        l1: Weight of the penalty l1 · Σ_j |z_j|, in nats.

    Raises:
        ValueError: `latent_dim` is below 1 or `l1` negative.
    """

    latent_dim: int | None
    l1: float = 0.0

    def __post_init__(self) -> None:
        if self.latent_dim is not None:
            check_count("latent_dim", self.latent_dim)
        settle(self, as_finite, "l1")
        require(self.l1 >= 0, "l1", self.l1, "a number of at least 0")
        super().__post_init__()

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """One code per example: z [1, b, latent_dim]."""
        del weight
        z = h if self.latent_dim is None else nn.Dense(self.latent_dim)(flat(h))
        penalty = self.l1 * jnp.abs(flat(z)).sum(axis=-1) if self.l1 else None
        return exact(z, penalty=penalty)
