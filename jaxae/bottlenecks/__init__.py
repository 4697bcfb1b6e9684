"""Bottlenecks: an encoder's features h -> a `Latent`."""

from jaxae.bottlenecks.base import Bottleneck
from jaxae.bottlenecks.deterministic import Deterministic
from jaxae.bottlenecks.gaussian import Gaussian

__all__ = ["Bottleneck", "Deterministic", "Gaussian"]
