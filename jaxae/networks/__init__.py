"""Encoders (x -> h) and decoders (z -> the likelihood's parameters)."""

from jaxae.networks.activations import ACTIVATIONS, Activation
from jaxae.networks.conv import ConvDecoder, ConvEncoder, ResidualBlock, halvings
from jaxae.networks.convolution import Conv, ConvTranspose, max_pool
from jaxae.networks.dense import Dense
from jaxae.networks.dictionary import Dictionary
from jaxae.networks.keras import KerasDecoder, KerasEncoder
from jaxae.networks.mlp import MLP, GatedDense, MLPDecoder
from jaxae.networks.pairs import Convolutional, FullyConnected, Networks, Own, Pair
from jaxae.networks.spectral import SpectralMLPDecoder
from jaxae.networks.vit import ViTDecoder, ViTEncoder

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Activation",
    "Conv",
    "ConvDecoder",
    "ConvEncoder",
    "ConvTranspose",
    "Convolutional",
    "Dense",
    "Dictionary",
    "FullyConnected",
    "GatedDense",
    "KerasDecoder",
    "KerasEncoder",
    "MLPDecoder",
    "Networks",
    "Own",
    "Pair",
    "ResidualBlock",
    "SpectralMLPDecoder",
    "ViTDecoder",
    "ViTEncoder",
    "halvings",
    "max_pool",
]
