"""Likelihoods by name."""

import functools
from collections.abc import Callable, Mapping

from jaxae.errors import choose
from jaxae.likelihoods.base import Likelihood
from jaxae.likelihoods.binary import Bernoulli, BinaryCrossEntropy, ContinuousBernoulli
from jaxae.likelihoods.levels import (
    BetaBinomial,
    Categorical,
    DiscretizedLogisticMixture,
)
from jaxae.likelihoods.real import Gaussian, Laplace, StudentT

BY_NAME: Mapping[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "binary_cross_entropy": BinaryCrossEntropy,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "gaussian_shared": functools.partial(Gaussian, std="shared"),
    "gaussian_per_value": functools.partial(Gaussian, std="per_value"),
    "gaussian_optimal": functools.partial(Gaussian, std="optimal"),
    "laplace": Laplace,
    "laplace_shared": functools.partial(Laplace, scale="shared"),
    "laplace_per_value": functools.partial(Laplace, scale="per_value"),
    "student_t": StudentT,
    "categorical": Categorical,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
    "beta_binomial": BetaBinomial,
}

NAMES = tuple(BY_NAME)
"""What `likelihood` may be by name."""


def by_name(name: str) -> Likelihood:
    """A likelihood with its default arguments.

    Raises:
        ValueError: `name` is unknown; the message lists the known ones.

    Example:
        >>> import jaxae
        >>> jaxae.likelihoods.by_name("gaussian_shared")
        likelihoods.Gaussian(std='shared')
    """
    return choose("likelihood", name, BY_NAME)()
