"""The bottleneck of the contractive auto-encoder."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.checks import check_count
from jaxae.types import Latent


class ContractiveSigmoid(Bottleneck):
    """A code in (0, 1), sigmoid(Wᵀh + b), that is charged for its slope.

    The penalty is ||∂z/∂h||_F² = Σ_j (z_j (1 - z_j))² ||W_j||² (Rifai et al. 2011,
    section 3.1), in squared units of z per squared unit of h. It is the Jacobian with
    respect to x where the encoder only flattens: `networks.MLP(())`.

    Attributes:
        latent_dim: The size of the code.

    Raises:
        ValueError: `latent_dim` is below 1.
    """

    latent_dim: int

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim)
        super().__post_init__()

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """One code per example: z [1, b, latent_dim]."""
        del weight
        dense = nn.Dense(self.latent_dim)
        z = jax.nn.sigmoid(dense(flat(h)))
        norms = jnp.square(dense.variables["params"]["kernel"]).sum(axis=0)
        return exact(z, penalty=jnp.square(z * (1.0 - z)) @ norms)
