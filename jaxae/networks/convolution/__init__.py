"""Convolutions of images that are as fast on the CPU as elsewhere.

`layers.py` has the layers and the functions behind them, `primitive.py` the one linear
map that they and their gradients are, `cpu.py` which form of it the CPU gets,
`forms.py` these forms, made of what is in `pixels.py`, `geometry.py` what meets what.
"""

from jaxae.networks.convolution.layers import (
    Conv,
    ConvTranspose,
    conv,
    conv_transpose,
    max_pool,
)

__all__ = [
    "Conv",
    "ConvTranspose",
    "conv",
    "conv_transpose",
    "max_pool",
]
