"""A decoder whose layers do not stretch: kernels of spectral norm 1."""

import math
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.checks import check_sizes, settle
from jaxae.networks.activations import Activation, activate, as_activation
from jaxae.networks.dense import Dense
from jaxae.values import Module


class SpectralMLPDecoder(Module):
    """`MLPDecoder` with spectrally normalised layers (Miyato et al. 2018).

    Every kernel is divided by an estimate of its largest singular value, from one step
    of power iteration per call (flax's `SpectralNorm`). While training the vectors of
    the iteration are kept, in the collection "batch_stats", so that the estimate gets
    better. With an activation of slope at most 1, as ReLU, the output changes by no
    more than z does.

    Attributes:
        shape: The output's shape without the batch.
        hidden: Units per layer; empty for the linear output layer alone.
        activation: Applied after every layer but the last.
        dtype: Compute dtype; None: that of inputs and parameters. The power iteration
            is in the parameters' own.

    Raises:
        ValueError: A size is below 1, or the activation is unknown.
    """

    shape: tuple[int, ...]
    hidden: tuple[int, ...] = (512,)
    activation: Activation = "relu"
    dtype: Any = None

    def __post_init__(self) -> None:
        check_sizes("shape", self.shape)
        check_sizes("hidden", self.hidden)
        settle(self, as_activation, "activation")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, "b ..."], *, train: bool = False
    ) -> Float[Array, "b ..."]:
        h = z.reshape(z.shape[0], -1)
        for features in self.hidden:
            layer = nn.SpectralNorm(Dense(features, dtype=self.dtype))
            h = activate(self.activation, layer(h, update_stats=train))
        layer = nn.SpectralNorm(Dense(math.prod(self.shape), dtype=self.dtype))
        return layer(h, update_stats=train).reshape(z.shape[0], *self.shape)
