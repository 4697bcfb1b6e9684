"""pythae's networks for MNIST, layer for layer, as linen modules."""

# ruff: noqa: D102 (a __call__ is described by its class)

from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks import Conv, ConvTranspose
from jaxae.networks.dense import Dense

_ONE = ((1, 1), (1, 1))
_DOUBLING = ((1, 2), (1, 2))  # PyTorch's padding 1, and 1 more at the end of the output


class VAEEncoder(nn.Module):
    """Four times a 4x4 convolution with stride 2, batch norm, ReLU: to 1x1x1024."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b 28 28 1"], *, train: bool = False
    ) -> Float[Array, "b 1 1 1024"]:
        for features in (128, 256, 512, 1024):
            x = Conv(features, 4, stride=2, padding=_ONE)(x)
            x = _normalised(x, train)
        return x


class VAEDecoder(nn.Module):
    """A dense layer to 4x4x1024, then three transposed 3x3 convolutions: to logits."""

    @nn.compact
    def __call__(
        self, z: Float[Array, "b d"], *, train: bool = False
    ) -> Float[Array, "b 28 28 1"]:
        x = Dense(4 * 4 * 1024)(z).reshape(-1, 4, 4, 1024)
        x = _normalised(ConvTranspose(512, 3, stride=2, padding=_ONE)(x), train)
        x = _normalised(ConvTranspose(256, 3, stride=2, padding=_DOUBLING)(x), train)
        return ConvTranspose(1, 3, stride=2, padding=_DOUBLING)(x)


class VQEncoder(nn.Module):
    """Three strided convolutions and two residual blocks: to 4x4x128.

    The 1x1 convolution to the dimensions of a code is the quantiser's projection.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "b 28 28 1"], *, train: bool = False
    ) -> Float[Array, "b 4 4 128"]:
        del train
        x = Conv(64, 4, stride=2, padding=_ONE)(x)
        x = Conv(128, 4, stride=2, padding=_ONE)(x)
        x = Conv(128, 3, stride=2, padding=_ONE)(x)
        return _residual(_residual(x))


class VQDecoder(nn.Module):
    """Its mirror image, with a sigmoid at the end."""

    @nn.compact
    def __call__(
        self, z: Float[Array, "b 4 4 d"], *, train: bool = False
    ) -> Float[Array, "b 28 28 1"]:
        del train
        x = Conv(128, 1)(z)
        x = ConvTranspose(128, 3, stride=2, padding=_ONE)(x)
        x = nn.relu(_residual(_residual(x)))
        x = nn.relu(ConvTranspose(64, 3, stride=2, padding=_DOUBLING)(x))
        return nn.sigmoid(ConvTranspose(1, 3, stride=2, padding=_DOUBLING)(x))


def _normalised(x: Array, train: bool) -> Array:
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    return nn.relu(norm(x))


def _residual(x: Array) -> Array:
    return x + Conv(128, 1)(nn.relu(Conv(32, 3)(nn.relu(x))))
