"""Encoders (x -> h) and decoders (z -> the likelihood's parameters)."""

from jaxae.networks.activations import ACTIVATIONS as ACTIVATIONS
from jaxae.networks.activations import Activation as Activation
from jaxae.networks.conv import ConvDecoder as ConvDecoder
from jaxae.networks.conv import ConvEncoder as ConvEncoder
from jaxae.networks.conv import ResidualBlock as ResidualBlock
from jaxae.networks.conv import halvings as halvings
from jaxae.networks.convolution import Conv as Conv
from jaxae.networks.convolution import ConvTranspose as ConvTranspose
from jaxae.networks.convolution import max_pool as max_pool
from jaxae.networks.dense import Dense as Dense
from jaxae.networks.dictionary import Dictionary as Dictionary
from jaxae.networks.keras import KerasDecoder as KerasDecoder
from jaxae.networks.keras import KerasEncoder as KerasEncoder
from jaxae.networks.mlp import MLP as MLP
from jaxae.networks.mlp import GatedDense as GatedDense
from jaxae.networks.mlp import MLPDecoder as MLPDecoder
from jaxae.networks.pairs import Convolutional as Convolutional
from jaxae.networks.pairs import FullyConnected as FullyConnected
from jaxae.networks.pairs import Networks as Networks
from jaxae.networks.pairs import Own as Own
from jaxae.networks.pairs import Pair as Pair
from jaxae.networks.spectral import SpectralMLPDecoder as SpectralMLPDecoder
from jaxae.networks.vit import ViTDecoder as ViTDecoder
from jaxae.networks.vit import ViTEncoder as ViTEncoder
