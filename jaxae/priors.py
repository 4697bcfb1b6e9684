"""Learned priors p(z), in place of a bottleneck's own.

A prior is a linen module: (x [m, ...] -> q(z | x) with batch shape [1, m]) -> p(z) with
batch shape [1, 1]. Against a mixture the KL has no closed form, so that
`objectives.ELBO` takes the mean of log q(z | x) - log p(z) over its samples.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array
from numpyro.distributions import Distribution, Independent

from jaxae.checks import check_count, check_sizes
from jaxae.distributions.elementwise import Normal
from jaxae.distributions.mixtures import DiagonalMixture
from jaxae.errors import require
from jaxae.values import Module

PosteriorOf = Callable[[Array], Distribution]


class MixturePrior(Module):
    """A mixture of Gaussians with diagonal covariances, all of it learned.

    Starts with equal weights, means from N(0, I) and standard deviations of 1.

    Attributes:
        latent_dim: d, the number of latent dimensions.
        components: How many Gaussians.

    Raises:
        ValueError: A number is below 1.
    """

    latent_dim: int
    components: int = 10

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("latent_dim", self.latent_dim)
        check_count("components", self.components)
        super().__post_init__()

    @nn.compact
    def __call__(self, posterior_of: PosteriorOf) -> Distribution:
        """p(z), whatever the posterior."""
        del posterior_of
        shape = (self.components, self.latent_dim)
        logits = self.param("logits", nn.initializers.zeros, shape[:1], jnp.float32)
        loc = self.param("loc", nn.initializers.normal(1.0), shape, jnp.float32)
        log_scale = self.param("log_scale", nn.initializers.zeros, shape, jnp.float32)
        return DiagonalMixture(logits, loc, jnp.exp(log_scale))


class VampPrior(Module):
    """p(z) = (1/m) Σ_i q(z | u_i) with learned pseudo-inputs u_i.

    Tomczak & Welling (2018): the posteriors of inputs that are learned with
    everything else, and kept in [0, 1] by a clamp. They start as draws from
    N(0.05, 0.01²), which is about as dark as MNIST.

    Attributes:
        unit_interval: That x has to lie in [0, 1].
        shape: The shape of one example, such as (28, 28, 1).
        components: m, how many pseudo-inputs.

    Raises:
        ValueError: A number is below 1, or the posterior is not a factorised Gaussian;
            the latter is said when the model first runs.
    """

    unit_interval: ClassVar[bool] = True

    shape: tuple[int, ...]
    components: int = 500

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_sizes("shape", self.shape)
        check_count("components", self.components)
        super().__post_init__()

    @nn.compact
    def __call__(self, posterior_of: PosteriorOf) -> Distribution:
        """The mixture of the posteriors of the pseudo-inputs."""
        shape = (self.components, *self.shape)
        start = partial(_near, 0.05, 0.01)
        inputs = self.param("pseudo_inputs", start, shape, jnp.float32)
        q = posterior_of(jnp.clip(inputs, 0.0, 1.0))
        base = q.base_dist if isinstance(q, Independent) else None
        expected = "a Gaussian factorised over the dimensions for a VampPrior"
        require(isinstance(base, Normal), "posterior", type(q).__name__, expected)
        assert isinstance(base, Normal)
        loc, scale = jnp.asarray(base.mean), jnp.asarray(base.scale)
        scale = jnp.broadcast_to(scale, loc.shape)
        return DiagonalMixture(jnp.zeros(self.components, loc.dtype), loc[0], scale[0])


def _near(
    mean: float, std: float, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
) -> Array:
    return mean + std * jax.random.normal(key, shape, dtype)
