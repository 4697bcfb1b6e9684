"""Encoders (x -> h) and decoders (z -> the likelihood's parameters)."""

from jaxae.networks.conv import ConvDecoder, ConvEncoder, ResidualBlock, halvings
from jaxae.networks.convolution import Conv, ConvTranspose, max_pool
from jaxae.networks.keras import KerasDecoder, KerasEncoder
from jaxae.networks.mlp import MLP, GatedDense, MLPDecoder

__all__ = [
    "MLP",
    "Conv",
    "ConvDecoder",
    "ConvEncoder",
    "ConvTranspose",
    "GatedDense",
    "KerasDecoder",
    "KerasEncoder",
    "MLPDecoder",
    "ResidualBlock",
    "halvings",
    "max_pool",
]
