"""Likelihoods: what the decoder puts out becomes p(x | z).

A likelihood is a linen module, as some learn a parameter or keep a statistic. It turns
outputs [k, b, ..., channels · params_per_value] into a distribution with batch shape
[k, b] and the event shape of x: `log_prob(x)` is [k, b], in nats, and
`base_dist.log_prob(x)` is that of the single values, [k, b, ...].
"""

from jaxae.likelihoods.base import MIN_LOG_SCALE, Likelihood, Support, Target
from jaxae.likelihoods.binary import Bernoulli, BinaryCrossEntropy, ContinuousBernoulli
from jaxae.likelihoods.levels import (
    BetaBinomial,
    Categorical,
    DiscretizedLogisticMixture,
    WholeNumbers,
)
from jaxae.likelihoods.names import BY_NAME, NAMES, by_name
from jaxae.likelihoods.real import (
    VARIANCE_MOMENTUM,
    Gaussian,
    Laplace,
    StudentT,
    student_t,
)

__all__ = [
    "BY_NAME",
    "MIN_LOG_SCALE",
    "NAMES",
    "VARIANCE_MOMENTUM",
    "Bernoulli",
    "BetaBinomial",
    "BinaryCrossEntropy",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "StudentT",
    "Support",
    "Target",
    "WholeNumbers",
    "by_name",
    "student_t",
]
