"""The networks that the command line can choose, as frozen dataclasses."""

from dataclasses import dataclass
from typing import Literal

import jax

from jaxae import recipes

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu"]


@dataclass(frozen=True)
class MLP:
    """Fully connected layers."""

    hidden: tuple[int, ...] = (512,)
    """Units of the encoder's layers; the decoder mirrors them."""
    gated: bool = False
    """Gated layers, h * sigmoid(g), which replace the activation."""
    activation: Activation = "relu"
    """Between the layers."""
    batch_norm: bool = False
    """Normalise before every activation."""

    def networks(self) -> recipes.Networks:
        """The encoder and the decoder's factory."""
        return networks.FullyConnected(
            self.hidden,
            gated=self.gated,
            activation=getattr(jax.nn, self.activation),
            batch_norm=self.batch_norm,
        )


@dataclass(frozen=True)
class Conv:
    """Strided convolutions; every stage halves the image."""

    channels: tuple[int, ...] = (32, 64)
    """Channels of the encoder's stages; the decoder mirrors them."""
    kernel_size: int = 3
    """Of the strided convolutions."""
    residual_blocks: int = 0
    """Residual blocks in every stage."""
    activation: Activation = "relu"
    """Between the layers."""
    batch_norm: bool = False
    """Normalise before every activation."""

    def networks(self) -> recipes.Networks:
        """The encoder and the decoder's factory."""
        return networks.Convolutional(
            self.channels,
            kernel_size=self.kernel_size,
            residual_blocks=self.residual_blocks,
            activation=getattr(jax.nn, self.activation),
            batch_norm=self.batch_norm,
        )


Network = MLP | Conv
