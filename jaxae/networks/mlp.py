"""Fully connected encoders and decoders."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.checks import as_flag, check_sizes, settle
from jaxae.errors import require
from jaxae.networks.activations import Activation, activate, as_activation
from jaxae.networks.dense import Dense
from jaxae.networks.norm import BatchNorm
from jaxae.networks.remat import layer_output
from jaxae.values import Module


class GatedDense(Module):
    """h · sigmoid(g), both linear in the input (Dauphin et al. 2017, equation 1).

    Attributes:
        features: Units.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b _"]) -> Float[Array, "b _"]:
        # One product for both halves; He-normal, as for the ReLU that this replaces.
        init = nn.initializers.he_normal()
        both = Dense(2 * self.features, dtype=self.dtype, kernel_init=init)(x)
        value, gate = jnp.split(both, 2, axis=-1)
        return value * jax.nn.sigmoid(gate)


def check_layers(network: Any) -> None:
    """Raises ValueError unless the fields that all of these share are as they must."""
    check_sizes("hidden", network.hidden)
    settle(network, as_activation, "activation")
    settle(network, as_flag, "gated", "batch_norm")
    both = network.gated and network.batch_norm
    require(not both, "batch_norm", True, "False for gated layers")


class MLP(Module):
    """Layers of `hidden` units over the flattened input: [b, ...] -> [b, hidden[-1]].

    Attributes:
        hidden: Units per layer; empty for the flattened input itself.
        gated: Gated layers, which replace the activation.
        activation: Applied after every layer that is not gated, by name or itself.
        batch_norm: Normalise before the activation; not with `gated`.
        dtype: Compute dtype; None: that of inputs and parameters. Batch statistics and
            their running averages are float32 at least.

    Raises:
        ValueError: A size is below 1, the layers are gated and normalised, or the
            activation is unknown.
    """

    hidden: tuple[int, ...] = (512,)
    gated: bool = False
    activation: Activation = "relu"
    batch_norm: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        check_layers(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b ..."],
        *,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b _"]:
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = layer_output(self._layer(x, features, train, weight))
        return x

    def _layer(
        self, x: Array, features: int, train: bool, weight: Array | None
    ) -> Array:
        if self.gated:
            return GatedDense(features, self.dtype)(x)
        # A bias in front of BatchNorm has no effect and a gradient of zero.
        x = Dense(features, use_bias=not self.batch_norm, dtype=self.dtype)(x)
        if self.batch_norm:
            x = BatchNorm()(x, train=train, weight=weight)
        return activate(self.activation, x)


class MLPDecoder(Module):
    """An MLP with a linear output layer of any shape: [b, ...] -> [b, *shape].

    Attributes:
        shape: The output's shape without the batch.
        hidden: See `MLP`, as the rest.
        gated: See `MLP`.
        activation: See `MLP`.
        batch_norm: See `MLP`.
        dtype: See `MLP`.

    Raises:
        ValueError: See `MLP`.
    """

    shape: tuple[int, ...]
    hidden: tuple[int, ...] = (512,)
    gated: bool = False
    activation: Activation = "relu"
    batch_norm: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        check_sizes("shape", self.shape)
        check_layers(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b ..."],
        *,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b ..."]:
        trunk = MLP(
            self.hidden, self.gated, self.activation, self.batch_norm, self.dtype
        )
        h = trunk(z, train=train, weight=weight)
        out = Dense(math.prod(self.shape), dtype=self.dtype)(h)
        return out.reshape(z.shape[0], *self.shape)
