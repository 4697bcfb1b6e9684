"""The two networks of Keras' "Convolutional autoencoder for image denoising"."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks.convolution import Conv, ConvTranspose, max_pool
from jaxae.networks.remat import layer_output
from jaxae.values import Module


class KerasEncoder(Module):
    """Twice a 3x3 convolution to 32 channels, ReLU and 2x2 max-pooling.

    Attributes:
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b _h _w 32"]:
        del train
        for _ in range(2):
            x = max_pool(nn.relu(Conv(32, dtype=self.dtype)(x)), 2)
            x = layer_output(x)
        return x


class KerasDecoder(Module):
    """Twice a transposed 3x3 convolution with stride 2 and ReLU, then a 3x3 one.

    Attributes:
        channels: Of the output, which has no sigmoid: the likelihood takes logits.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    channels: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, z: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b _h _w _c"]:
        del train
        for _ in range(2):
            z = nn.relu(ConvTranspose(32, stride=2, dtype=self.dtype)(z))
            z = layer_output(z)
        return Conv(self.channels, dtype=self.dtype)(z)
