"""Objectives: a `Trace` -> what is minimised, per example."""

from jaxae.objectives.base import chain, stateless
from jaxae.objectives.elbo import elbo
from jaxae.objectives.reconstruction import Region, log_likelihood, reconstruction

__all__ = [
    "Region",
    "chain",
    "elbo",
    "log_likelihood",
    "reconstruction",
    "stateless",
]
