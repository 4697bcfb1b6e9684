"""The convolutional VAE of two layers that the table of the Exemplar VAE has."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae import likelihoods
from jaxae.distributions.elementwise import Normal
from jaxae.likelihoods import Likelihood
from jaxae.models.family import Codes, Family, fold_samples, unfold_samples
from jaxae.networks import Conv, GatedDense
from jaxae.types import Batch, Latent
from jaxae.values import Module
from jaxae.views import Plain, View

UNITS = 300
LATENT_DIM = 40
LIMITS = (-3.0, 1.0)
"""Bounds of log std: the log variance is kept in [-6, 2] there."""

WIDE = ((32, 7, 1), (32, 3, 2), (64, 5, 1), (64, 3, 2), (6, 3, 1))
NARROW = ((32, 3, 1), (32, 3, 2), (64, 3, 1), (64, 3, 2), (6, 3, 1))
LEVEL = ((64, 3, 1),) * 4
"""Channels, side of the kernel and stride, layer by layer."""


class ConvHVAE(Family):
    """p(z_2) p(z_1 | z_2) p(x | z_1, z_2), by q(z_2 | x) q(z_1 | x, z_2).

    As Tomczak & Welling 2018 draw it, https://arxiv.org/abs/1705.07120, figure 2b, with
    gated layers, the dense ones He-normal, the convolutions as PyTorch begins them.
    Codes are given top first, z_2 before z_1.

    Attributes:
        shape: The shape of one example.
        prior: Of z_2, see `jaxae.priors`; None for N(0, I).
        likelihood: The last layer's outputs -> p(x | z).
        view: Nothing beside x.
    """

    shape: tuple[int, ...]
    prior: nn.Module | None = None
    likelihood: Likelihood = likelihoods.Bernoulli()
    view: View = Plain()

    def setup(self) -> None:
        """Names the networks."""
        features = 6 * math.prod(-(-side // 4) for side in self.shape[:2])
        self.upper_features, self.upper = Convolutions(WIDE), Head()
        self.lower_features, self.code_features = (
            Convolutions(NARROW),
            GatedDense(features),
        )
        self.lower_joint, self.lower = GatedDense(UNITS), Head()
        self.prior_layers = [GatedDense(UNITS), GatedDense(UNITS)]
        self.prior_head = Head()
        self.shown = [GatedDense(UNITS), GatedDense(UNITS)]
        self.image = GatedDense(math.prod(self.shape))
        self.pixels = Convolutions(LEVEL)
        self.outputs = Conv(
            self.shape[-1] * self.likelihood.params_per_value, 1, kernel_init=_pytorch
        )

    @property
    def generative(self) -> bool:
        """There is a posterior and a prior."""
        return True

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """See `Family`; the mean of z_1 is that where z_2 is its mean."""
        del train
        x, (key_upper, key_lower) = batch["inputs"], jax.random.split(key)
        upper, seen = self._upper(x), self.lower_features(x)
        drawn = jnp.asarray(upper.sample(key_upper, (num_samples,)))[:, 0]
        mean = jnp.asarray(upper.mean)[0]
        lower = self._lower(seen, drawn)
        z = jnp.asarray(lower.sample(key_lower))
        quiet = jnp.asarray(self._lower(seen, mean[None]).mean)[0]
        return (
            Latent(drawn, mean, upper, self.prior_below((), batch)),
            Latent(z, quiet, lower, self.prior_below((drawn,), batch)),
        )

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z_1, z_2), see `Family`."""
        del batch, train
        k = codes[0].shape[0]
        pairs = zip(self.shown, reversed(codes), strict=True)
        joint = jnp.concatenate([f(fold_samples(z)) for f, z in pairs], axis=-1)
        image = self.image(joint).reshape(-1, *self.shape)
        outputs = self.outputs(self.pixels(image))
        return self.likelihood(unfold_samples(outputs, k), None)

    def prior_below(self, above: Codes, batch: Batch) -> Distribution:
        """p(z_2), or p(z_1 | z_2); see `Family`."""
        del batch
        if above:
            h = fold_samples(above[0])
            for layer in self.prior_layers:
                h = layer(h)
            return self.prior_head(unfold_samples(h, above[0].shape[0]))
        if self.prior is not None:
            return self.prior(lambda x, conditions: self._upper(x))
        zeros = jnp.zeros((1, 1, LATENT_DIM), jnp.float32)
        return Normal(zeros, jnp.ones_like(zeros)).to_event(1)

    def posterior_below(self, above: Codes, batch: Batch) -> Distribution:
        """q(z_2 | x), or q(z_1 | x, z_2); see `Family`."""
        x = batch["inputs"]
        return (
            self._lower(self.lower_features(x), above[0]) if above else self._upper(x)
        )

    def sample_codes(self, key: jax.Array, count: int, batch: Batch) -> Codes:
        """See `Family`."""
        key_upper, key_lower = jax.random.split(key)
        prior = self.prior_below((), batch)
        upper = jnp.asarray(prior.sample(key_upper, (count,))).reshape(1, count, -1)
        lower = self.prior_below((upper,), batch).sample(key_lower)
        return upper, jnp.asarray(lower)

    def _upper(self, x: Float[Array, "b ..."]) -> Distribution:
        """q(z_2 | x) with batch shape [1, b]."""
        return self.upper(self.upper_features(x)[None])

    def _lower(
        self, seen: Float[Array, "b _"], z: Float[Array, "k b d"]
    ) -> Distribution:
        """q(z_1 | x, z_2) with batch shape [k, b], of what is seen of x."""
        k = z.shape[0]
        both = jnp.repeat(seen, k, axis=0), self.code_features(fold_samples(z))
        h = self.lower_joint(jnp.concatenate(both, axis=-1))
        return self.lower(unfold_samples(h, k))


class Convolutions(Module):
    """Gated ones in a row; flat where they end in few channels, an image otherwise.

    Attributes:
        layers: Channels, side of the kernel and stride of each.
    """

    layers: tuple[tuple[int, int, int], ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ..."]:
        """The features of the last one."""
        for channels, side, stride in self.layers:
            pads = ((side // 2, side // 2),) * 2
            both = Conv(2 * channels, side, stride, pads, kernel_init=_pytorch)(x)
            value, gate = jnp.split(both, 2, axis=-1)
            x = value * jax.nn.sigmoid(gate)
        return x if self.layers == LEVEL else x.reshape(x.shape[0], -1)


class Head(Module):
    """Features -> N(mean, diag(std²)) of a code."""

    @nn.compact
    def __call__(self, h: Float[Array, "k b _"]) -> Distribution:
        """With batch shape [k, b]."""
        init = nn.initializers.he_normal()
        mean, log_std = jnp.split(nn.Dense(2 * LATENT_DIM, kernel_init=init)(h), 2, -1)
        return Normal.from_log_scale(mean, jnp.clip(log_std, *LIMITS)).to_event(1)


_pytorch = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform within 1 / sqrt(inputs of a unit)."""
