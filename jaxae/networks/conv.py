"""Convolutional encoders and decoders for images of any size and channel count."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.checks import as_flag, check_count, check_sizes, settle
from jaxae.errors import ensure, require
from jaxae.networks.activations import Activation, activate, as_activation
from jaxae.networks.convolution import Conv, ConvTranspose
from jaxae.networks.dense import Dense
from jaxae.networks.norm import BatchNorm
from jaxae.networks.remat import layer_output
from jaxae.values import Module


class ConvEncoder(Module):
    """Halves the image once per entry of `channels`: [b, h, w, c] -> [b, h', w', c'].

    An odd side n becomes (n + 1) / 2.

    Attributes:
        channels: Channels after each halving.
        kernel_size: Of the strided convolutions.
        residual_blocks: Residual blocks after each halving; 0 for the plain variant.
        activation: Applied after every strided convolution.
        batch_norm: Normalise before every activation.
        dtype: Compute dtype; None: that of inputs and parameters. Batch statistics and
            their running averages are float32 at least.
        inner_blocks: Residual blocks after all halvings, where the image is smallest,
            as in the VQ-VAE (van den Oord et al. 2017, section 4.1).
        skip: Append the image itself, shrunk to the size of the features, to them: what
            a code can say of it linearly then need not go through the activations (the
            input skips of StyleGAN2, Karras et al. 2020, section 4.1,
            https://arxiv.org/abs/1912.04958).

    Raises:
        ValueError: A size is below 1, there are no channels, a number of blocks is
            negative, or the activation is unknown.
    """

    channels: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    residual_blocks: int = 0
    activation: Activation = "relu"
    batch_norm: bool = False
    dtype: Any = None
    inner_blocks: int = 0
    skip: bool = False

    def __post_init__(self) -> None:
        check_stages(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b _h _w _c"]:
        normalise, image = _normaliser(self.batch_norm, train, weight), x
        for features in self.channels:
            x = Conv(
                features,
                self.kernel_size,
                stride=2,
                use_bias=not self.batch_norm,
                dtype=self.dtype,
            )(x)
            x = layer_output(activate(self.activation, normalise(x)))
            x = _blocks(self, self.residual_blocks, x, train, weight)
        x = _blocks(self, self.inner_blocks, x, train, weight)
        if not self.skip:
            return x
        return jnp.concatenate([x, _resized(image, x.shape[1:3]).astype(x.dtype)], -1)


class ConvDecoder(Module):
    """The mirror image of `ConvEncoder`: a code -> [b, *shape].

    A vector [b, d] first becomes a small image by a dense layer; a code that is already
    an image [b, h', w', d] goes through a 1x1 convolution. Every stage then doubles the
    sides and crops the odd ones.

    Attributes:
        shape: Height, width and channels of the output.
        channels: Channels before each doubling.
        kernel_size: Of the transposed convolutions.
        residual_blocks: Residual blocks before each doubling; 0 for the plain variant.
        activation: Applied before every transposed convolution.
        batch_norm: Normalise before every activation.
        dtype: Compute dtype; None: that of inputs and parameters. Batch statistics and
            their running averages are float32 at least.
        inner_blocks: Residual blocks before all doublings.
        skip: Add an image that is a linear function of the code, made at the smallest
            size and enlarged (the output skips of StyleGAN2).

    Raises:
        ValueError: See `ConvEncoder`; also when a code does not fit.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (64, 32)
    kernel_size: int = 3
    residual_blocks: int = 0
    activation: Activation = "relu"
    batch_norm: bool = False
    dtype: Any = None
    inner_blocks: int = 0
    skip: bool = False

    def __post_init__(self) -> None:
        check_sizes("shape", self.shape)
        check_stages(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b ..."],
        *,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b h w c"]:
        normalise = _normaliser(self.batch_norm, train, weight)
        sides = halvings(self.shape[:2], len(self.channels))
        widths = (*self.channels, self.shape[-1])
        x = self._to_image(z, sides[-1])
        x, image = x[..., : self.channels[0]], x[..., self.channels[0] :]
        x = _blocks(self, self.inner_blocks, x, train, weight)
        for (height, width), features in zip(sides[-2::-1], widths[1:], strict=True):
            x = layer_output(activate(self.activation, normalise(x)))
            x = _blocks(self, self.residual_blocks, x, train, weight)
            up = ConvTranspose(features, self.kernel_size, stride=2, dtype=self.dtype)
            x = up(x)[:, :height, :width]
        return x + _resized(image, self.shape[:2]) if self.skip else x

    def _to_image(self, z: Array, side: tuple[int, int]) -> Array:
        features = self.channels[0] + self.skip * self.shape[-1]
        if z.ndim == 2:
            z = Dense(math.prod(side) * features, dtype=self.dtype)(z)
            return z.reshape(z.shape[0], *side, features)
        require(
            z.ndim == 4 and z.shape[1:3] == side,
            "z",
            z.shape,
            f"[b, d] or [b, {side[0]}, {side[1]}, d] for outputs of {self.shape}",
        )
        return Conv(features, kernel_size=1, dtype=self.dtype)(z)


class ResidualBlock(Module):
    """x + two 3x3 convolutions of x, pre-activation (He et al. 2016b, figure 1b).

    Attributes:
        activation: Applied before every convolution.
        batch_norm: Normalise before every activation.
        dtype: See `ConvEncoder`.
    """

    activation: Activation = "relu"
    batch_norm: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b h w c"]:
        normalise = _normaliser(self.batch_norm, train, weight)
        h = x
        for _ in range(2):
            h = activate(self.activation, normalise(h))
            h = Conv(x.shape[-1], dtype=self.dtype)(h)
        return layer_output(x.astype(h.dtype) + h)


def halvings(side: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """The image's sides before any halving, after one, ... after `count`.

    A ConvEncoder with `count` stages ends at the last, and a ConvDecoder starts there.
    """
    sides = [side]
    for _ in range(count):
        height, width = sides[-1]
        sides.append((-(-height // 2), -(-width // 2)))
    return sides


def _resized(x: Array, side: tuple[int, ...]) -> Array:
    return jax.image.resize(x, (x.shape[0], *side, x.shape[-1]), "linear")


def check_image(shape: tuple[int, ...]) -> None:
    """Raises ValueError unless it is that of an image, which a series can be, too."""
    series = "; of a series give x[:, None], which is (1, steps, channels)"
    came = f"{shape}{series * (len(shape) == 2)}"
    words = f"shape must be (height, width, channels) for convolutions, got {came}"
    ensure(len(shape) == 3, words)


def check_stages(network: Any) -> None:
    """Raises ValueError unless the fields that all of these share are as they must."""
    check_sizes("channels", network.channels)
    given = len(network.channels) > 0
    require(given, "channels", network.channels, "at least one size")
    check_count("kernel_size", network.kernel_size)
    check_count("residual_blocks", network.residual_blocks, least=0)
    check_count("inner_blocks", network.inner_blocks, least=0)
    settle(network, as_activation, "activation")
    settle(network, as_flag, "batch_norm", "skip")


def _blocks(
    network: ConvEncoder | ConvDecoder,
    count: int,
    x: Array,
    train: bool,
    weight: Array | None,
) -> Array:
    """x through so many residual blocks, which belong to the network that calls."""
    for _ in range(count):
        block = ResidualBlock(network.activation, network.batch_norm, network.dtype)
        x = block(x, train=train, weight=weight)
    return x


def _normaliser(
    batch_norm: bool, train: bool, weight: Array | None
) -> Callable[[Array], Array]:
    """Normalises by a new layer at every call, or does nothing."""
    if not batch_norm:
        return lambda x: x
    return lambda x: BatchNorm()(x, train=train, weight=weight)
