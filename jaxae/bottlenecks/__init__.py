"""Bottlenecks: an encoder's features h -> a `Latent`."""

from jaxae.bottlenecks.base import Bottleneck as Bottleneck
from jaxae.bottlenecks.deterministic import Deterministic as Deterministic
from jaxae.bottlenecks.flow import FlowPosterior as FlowPosterior
from jaxae.bottlenecks.gaussian import Gaussian as Gaussian
from jaxae.bottlenecks.lookup_free import FSQ as FSQ
from jaxae.bottlenecks.lookup_free import LFQ as LFQ
from jaxae.bottlenecks.matched import Matched as Matched
from jaxae.bottlenecks.quantized import VectorQuantizer as VectorQuantizer
from jaxae.bottlenecks.sigmoid import ContractiveSigmoid as ContractiveSigmoid
from jaxae.bottlenecks.sparse import Sparse as Sparse
from jaxae.bottlenecks.spherical import VonMisesFisher as VonMisesFisher
from jaxae.bottlenecks.student import StudentT as StudentT
