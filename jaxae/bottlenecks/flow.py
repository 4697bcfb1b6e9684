"""A posterior that a normalising flow shapes."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import Bottleneck, draw, flat
from jaxae.bottlenecks.gaussian import standard_normal
from jaxae.checks import check_count, check_sizes
from jaxae.distributions import Normal
from jaxae.errors import check_choice
from jaxae.flows import Autoregressive, Mapped, Planar, Radial
from jaxae.types import Latent

Flow = Literal["planar", "radial", "iaf", "maf"]


class FlowPosterior(Bottleneck):
    """z = f(z₀) with z₀ ~ N(mean, diag(std²)), both of x (Rezende & Mohamed 2015).

    log q(z | x) = log q(z₀ | x) - Σ log |det| of the layers, known for the samples
    alone: the rate is a mean over them, and free bits are not to be had. The prior is
    N(0, I). The code without noise is f(mean), not the mean of z.

    The layers' parameters depend on the features h: for "planar" and "radial" they are
    linear in h; for "iaf" and "maf" h enters the first layer of the masked network, and
    the order of the dimensions is reversed between the layers. Draws from "maf" take
    as many passes as there are dimensions.

    Attributes:
        latent_dim: d, the number of latent dimensions.
        flow: The kind of the layers.
        layers: How many.
        hidden: Units per layer of the masked networks of "iaf" and "maf".

    Raises:
        ValueError: A number is below 1, or the flow is unknown.
    """

    stochastic = True

    latent_dim: int
    flow: Flow = "planar"
    layers: int = 4
    hidden: tuple[int, ...] = (64,)

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim)
        check_choice("flow", self.flow, Flow)
        check_count("layers", self.layers)
        check_sizes("hidden", self.hidden)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "b ..."],
        key: jax.Array,
        *,
        num_samples: int = 1,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Latent:
        """Draws `num_samples` codes per example: z [num_samples, b, latent_dim]."""
        del train, weight
        h = flat(h)
        mean, log_std = jnp.split(nn.Dense(2 * self.latent_dim)(h), 2, axis=-1)
        base = Normal.from_log_scale(mean[None], log_std[None]).to_event(1)
        start = draw(base, key, num_samples)
        layers = [self._layer() for _ in range(self.layers)]
        z, log_det = self._flow(layers, start, h)
        log_posterior = jnp.asarray(base.log_prob(start)) - log_det
        # On its own: XLA drops it where nothing looks at it, as in training.
        center, _ = self._flow(layers, mean[None], h)
        return Latent(z, center[0], prior=self.prior(), log_posterior=log_posterior)

    def prior(self) -> Distribution:
        """p(z) = N(0, I)."""
        return standard_normal(self.latent_dim)

    def _layer(self) -> nn.Module:
        if self.flow == "planar":
            return Planar()
        if self.flow == "radial":
            return Radial()
        masked = self.flow == "maf"
        return Autoregressive(self.hidden, masked_codes=masked, gated=not masked)

    def _flow(
        self,
        layers: list[nn.Module],
        z: Float[Array, "k b d"],
        h: Float[Array, "b c"],
    ) -> Mapped:
        """z through all layers, with the sum of their log-determinants."""
        total = jnp.zeros(z.shape[:2], z.dtype)
        for i, layer in enumerate(layers):
            if i and isinstance(layer, Autoregressive):
                z = z[..., ::-1]
            z, log_det = layer(z, h)
            total = total + log_det
        return z, total
