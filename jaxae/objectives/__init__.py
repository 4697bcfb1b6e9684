"""Objectives: a `Trace` -> what is minimised, per example."""

from jaxae.objectives.adversarial import adversarial_prior, total_correlation_critic
from jaxae.objectives.base import chain, stateless
from jaxae.objectives.contraction import contraction
from jaxae.objectives.elbo import elbo
from jaxae.objectives.importance import iwae, log_weights
from jaxae.objectives.mmd import mmd
from jaxae.objectives.reconstruction import Region, log_likelihood, reconstruction
from jaxae.objectives.regularized import (
    code_penalty,
    decoder_gradient_penalty,
    decoder_weight_decay,
)
from jaxae.objectives.schedules import cyclical
from jaxae.objectives.sparse import sparse_reconstruction
from jaxae.objectives.total_correlation import beta_tc_vae
from jaxae.objectives.vae_gan import image_critic

__all__ = [
    "Region",
    "adversarial_prior",
    "beta_tc_vae",
    "chain",
    "code_penalty",
    "contraction",
    "cyclical",
    "decoder_gradient_penalty",
    "decoder_weight_decay",
    "elbo",
    "image_critic",
    "iwae",
    "log_likelihood",
    "log_weights",
    "mmd",
    "reconstruction",
    "sparse_reconstruction",
    "stateless",
    "total_correlation_critic",
]
