"""Objectives: a `Trace` -> what is minimised, per example."""

from jaxae.objectives.adversarial import AdversarialPrior as AdversarialPrior
from jaxae.objectives.adversarial import (
    TotalCorrelationCritic as TotalCorrelationCritic,
)
from jaxae.objectives.base import Chain as Chain
from jaxae.objectives.base import Objective as Objective
from jaxae.objectives.base import Stateless as Stateless
from jaxae.objectives.base import Weight as Weight
from jaxae.objectives.contraction import Contraction as Contraction
from jaxae.objectives.covariance import CovariancePenalty as CovariancePenalty
from jaxae.objectives.elbo import ELBO as ELBO
from jaxae.objectives.importance import IWAE as IWAE
from jaxae.objectives.importance import log_weights as log_weights
from jaxae.objectives.mmd import MMD as MMD
from jaxae.objectives.reconstruction import Reconstruction as Reconstruction
from jaxae.objectives.reconstruction import Region as Region
from jaxae.objectives.reconstruction import log_likelihood as log_likelihood
from jaxae.objectives.regularized import CodePenalty as CodePenalty
from jaxae.objectives.regularized import (
    DecoderGradientPenalty as DecoderGradientPenalty,
)
from jaxae.objectives.regularized import DecoderWeightDecay as DecoderWeightDecay
from jaxae.objectives.sparse import SparseReconstruction as SparseReconstruction
from jaxae.objectives.total_correlation import BetaTCVAE as BetaTCVAE
from jaxae.objectives.vae_gan import ImageCritic as ImageCritic
