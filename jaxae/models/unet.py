"""The U-Net: restoration of pictures, with features of all sizes as the code."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import exact
from jaxae.errors import ensure, require
from jaxae.likelihoods import Likelihood
from jaxae.models.family import (
    Codes,
    Family,
    beside_samples,
    embeddings,
    fold_samples,
    looked_up,
    seen_in_training,
    unfold_samples,
)
from jaxae.models.ladder import Stage, check_resolutions
from jaxae.networks import Conv, ConvTranspose, ResidualBlock, halvings
from jaxae.precision import widened
from jaxae.types import Batch, Latent
from jaxae.values import Module
from jaxae.views import Plain, View, shown_by


class UNet(Family):
    """Features of every size on the way up meet those on the way back down.

    An encoder halves the image between the entries of `channels`, with a residual block
    at each size; a decoder goes from the smallest features back to the image, and adds
    the encoder's at each size (Ronneberger et al. 2015,
    https://arxiv.org/abs/1505.04597, which joins them as channels). So the code is not
    narrow: it is all that goes across, an image [k, b, h_l, w_l, channels_l] per size,
    the smallest first. The last of them, of the size of x, also holds the picture that
    the encoder saw, as the first channels.

    What is put out is a linear function of each pixel of that picture, at first the
    pixel itself, plus what the network makes of the features, at first nothing (Zhang
    et al. 2017, https://arxiv.org/abs/1608.03981, learn that difference).

    Attributes:
        shape: Height, width and channels of one example.
        likelihood: The decoder's outputs -> p(x | z).
        channels: Of the features of each size. The full size comes first, which takes
            most of the time.
        view: What the encoder is shown of a batch beside x, such as where holes are,
            and the decoder beside the smallest code.
        dtype: Compute dtype of the convolutions; None: that of inputs and parameters.
            Codes, the picture within and the likelihood are float32 at least.

    Raises:
        ValueError: `shape` is not that of an image, a size is below 1, there are no
            channels, or the view shows a prior something, which there is none of.

    Example:
        >>> import jaxae
        >>> likelihood = jaxae.likelihoods.Gaussian()
        >>> module = jaxae.UNet((32, 32, 3), likelihood, channels=(8, 16))
        >>> noise = jaxae.corruptions.GaussianNoise(0.1)
        >>> objective = jaxae.objectives.Reconstruction()
        >>> recipe = jaxae.Recipe(module, objective, corruption=noise)
    """

    shape: tuple[int, ...]
    likelihood: Likelihood
    channels: tuple[int, ...] = (16, 32, 64)
    view: View = Plain()
    dtype: Any = None

    def __post_init__(self) -> None:
        """Checks the attributes."""
        check_resolutions(self)
        prior = sorted(self.view.shown_to("prior"))
        ensure(not prior, f"view must not show {prior} to a prior: a UNet has none")
        super().__post_init__()

    def setup(self) -> None:
        """Names the networks; the steps down are top first, as the codes are."""
        first, *smaller = self.channels
        self.first = Conv(first, dtype=self.dtype)
        self.first_block = ResidualBlock(dtype=self.dtype)
        self.stages = [Stage(features, self.dtype) for features in smaller]
        self.top_block = ResidualBlock(dtype=self.dtype)
        sides = halvings((self.shape[0], self.shape[1]), len(smaller))
        sizes = zip(self.channels[:-1], sides[:-1], strict=True)
        self.steps = [Step(features, side, self.dtype) for features, side in sizes][
            ::-1
        ]
        outputs = self.shape[-1] * self.likelihood.params_per_value
        self.difference = Conv(
            outputs, kernel_init=nn.initializers.zeros, dtype=self.dtype
        )
        self.picture = Conv(outputs, kernel_size=1, kernel_init=self._as_it_is)
        self.embeddings = embeddings(self.view)

    @property
    def generative(self) -> bool:
        """There is no posterior."""
        return False

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The codes of `batch["inputs"]`, smallest first; one, whatever the samples."""
        del key, num_samples, train
        x, batch = batch["inputs"], looked_up(self.embeddings, batch)
        require(x.shape[1:] == self.shape, "inputs", x.shape, f"[b, {self.shape}]")
        shown = shown_by(self.view.encoder, batch)
        features = [self.first_block(self.first(shown))]
        for stage in self.stages:
            features.append(stage(features[-1]))
        largest, *smaller = (widened(h) for h in features)
        largest = jnp.concatenate([x.astype(largest.dtype), largest], axis=-1)
        return tuple(exact(h) for h in [largest, *smaller][::-1])

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z) with batch shape [k, b], from codes given smallest first."""
        k, flat = codes[0].shape[0], [fold_samples(z) for z in codes]
        picture, flat[-1] = jnp.split(flat[-1], [self.shape[-1]], axis=-1)
        beside = beside_samples(self.view, looked_up(self.embeddings, batch), k)
        state = self.top_block(shown_by(self.view.decoder, flat[0], beside))
        for step, features in zip(self.steps, flat[1:], strict=True):
            state = step(state, features)
        difference = widened(self.difference(nn.relu(state)))
        outputs = unfold_samples(self.picture(picture) + difference, k)
        return self.likelihood(outputs, seen_in_training(batch, train))

    def _as_it_is(self, key: jax.Array, shape: Any, dtype: Any = None) -> Array:
        """The kernel that makes of each value the first of its parameters."""
        del key
        per_value = self.likelihood.params_per_value
        values = jnp.arange(shape[-2])[:, None]
        first = values * per_value == jnp.arange(shape[-1])[None]
        return first.astype(dtype or jnp.float32).reshape(shape)


class Step(Module):
    """One step down: doubles the image and adds the features of that size.

    Joined as channels and then mixed by a 1x1 convolution, which is the same sum, they
    would take twice the time.

    Attributes:
        features: Channels of the result.
        side: Height and width of the result.
        dtype: See `UNet`.
    """

    features: int
    side: tuple[int, int]
    dtype: Any = None

    @nn.compact
    def __call__(
        self, state: Float[Array, "n _h _w _c"], across: Float[Array, "n h w c"]
    ) -> Float[Array, "n h w c"]:
        """The state of the size of `across`."""
        height, width = self.side
        doubled = ConvTranspose(self.features, stride=2, dtype=self.dtype)(
            nn.relu(state)
        )
        mixed = Conv(self.features, kernel_size=1, dtype=self.dtype)(across)
        return ResidualBlock(dtype=self.dtype)(doubled[:, :height, :width] + mixed)
