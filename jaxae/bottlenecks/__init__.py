"""Bottlenecks: an encoder's features h -> a `Latent`."""

from jaxae.bottlenecks.base import Bottleneck
from jaxae.bottlenecks.deterministic import Deterministic
from jaxae.bottlenecks.flow import FlowPosterior
from jaxae.bottlenecks.gaussian import Gaussian
from jaxae.bottlenecks.lookup_free import FSQ, LFQ
from jaxae.bottlenecks.matched import Matched
from jaxae.bottlenecks.quantized import VectorQuantizer
from jaxae.bottlenecks.sigmoid import ContractiveSigmoid
from jaxae.bottlenecks.sparse import Sparse
from jaxae.bottlenecks.spherical import VonMisesFisher
from jaxae.bottlenecks.student import StudentT

__all__ = [
    "FSQ",
    "LFQ",
    "Bottleneck",
    "ContractiveSigmoid",
    "Deterministic",
    "FlowPosterior",
    "Gaussian",
    "Matched",
    "Sparse",
    "StudentT",
    "VectorQuantizer",
    "VonMisesFisher",
]
