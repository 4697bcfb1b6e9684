"""Distributions that numpyro lacks, or has more slowly; see the files."""

from jaxae.distributions.elementwise import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogisticMixture,
    Event,
    GreyBernoulli,
    Laplace,
    Normal,
)
from jaxae.distributions.mixtures import DiagonalMixture
from jaxae.distributions.spherical import SphereUniform, VonMisesFisher

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiagonalMixture",
    "DiscretizedLogisticMixture",
    "Event",
    "GreyBernoulli",
    "Laplace",
    "Normal",
    "SphereUniform",
    "VonMisesFisher",
]
