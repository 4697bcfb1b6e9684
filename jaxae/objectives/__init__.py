"""Objectives: a `Trace` -> what is minimised, per example."""

from jaxae.objectives.adversarial import AdversarialPrior, TotalCorrelationCritic
from jaxae.objectives.base import Chain, Objective, Stateless, Weight, weight_at
from jaxae.objectives.contraction import Contraction
from jaxae.objectives.covariance import CovariancePenalty
from jaxae.objectives.elbo import ELBO
from jaxae.objectives.importance import IWAE, log_weights
from jaxae.objectives.mmd import MMD
from jaxae.objectives.reconstruction import Reconstruction, Region, log_likelihood
from jaxae.objectives.regularized import (
    CodePenalty,
    DecoderGradientPenalty,
    DecoderWeightDecay,
)
from jaxae.objectives.sparse import SparseReconstruction
from jaxae.objectives.total_correlation import BetaTCVAE
from jaxae.objectives.vae_gan import ImageCritic

__all__ = [
    "ELBO",
    "IWAE",
    "MMD",
    "AdversarialPrior",
    "BetaTCVAE",
    "Chain",
    "CodePenalty",
    "Contraction",
    "CovariancePenalty",
    "DecoderGradientPenalty",
    "DecoderWeightDecay",
    "ImageCritic",
    "Objective",
    "Reconstruction",
    "Region",
    "SparseReconstruction",
    "Stateless",
    "TotalCorrelationCritic",
    "Weight",
    "log_likelihood",
    "log_weights",
    "weight_at",
]
