"""Distributions that numpyro lacks, or has more slowly; see the files."""

from jaxae.distributions.beta_binomial import GreyBetaBinomial
from jaxae.distributions.elementwise import (
    Bernoulli,
    ContinuousBernoulli,
    Event,
    GreyBernoulli,
    Laplace,
    Normal,
)
from jaxae.distributions.levels import Categorical, DiscretizedLogisticMixture
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
    "GreyBetaBinomial",
    "Laplace",
    "Normal",
    "SphereUniform",
    "VonMisesFisher",
]
