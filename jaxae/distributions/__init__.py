"""Distributions that numpyro lacks, or has more slowly; see the files."""

from jaxae.distributions.beta_binomial import GreyBetaBinomial as GreyBetaBinomial
from jaxae.distributions.elementwise import Bernoulli as Bernoulli
from jaxae.distributions.elementwise import ContinuousBernoulli as ContinuousBernoulli
from jaxae.distributions.elementwise import Event as Event
from jaxae.distributions.elementwise import GreyBernoulli as GreyBernoulli
from jaxae.distributions.elementwise import Laplace as Laplace
from jaxae.distributions.elementwise import Normal as Normal
from jaxae.distributions.levels import Categorical as Categorical
from jaxae.distributions.levels import (
    DiscretizedLogisticMixture as DiscretizedLogisticMixture,
)
from jaxae.distributions.mixtures import DiagonalMixture as DiagonalMixture
from jaxae.distributions.spherical import SphereUniform as SphereUniform
from jaxae.distributions.spherical import VonMisesFisher as VonMisesFisher
