"""How good a trained model is; every name says its unit."""

from jaxae.evaluation.dci import dci
from jaxae.evaluation.disentanglement import factor_vae_score, mig, sap
from jaxae.evaluation.frechet import frechet_distance
from jaxae.evaluation.latents import active_units, codebook_usage, posterior_means
from jaxae.evaluation.likelihood import elbo_terms, is_generative, nll_nats
from jaxae.evaluation.probes import knn_accuracy, linear_probe
from jaxae.evaluation.quality import (
    mean_squared_error,
    psnr_db,
    reconstruction_quality,
    ssim,
)
from jaxae.evaluation.sparsity import atoms, sparsity
from jaxae.evaluation.summary import NAMES, evaluate

__all__ = [
    "NAMES",
    "active_units",
    "atoms",
    "codebook_usage",
    "dci",
    "elbo_terms",
    "evaluate",
    "factor_vae_score",
    "frechet_distance",
    "is_generative",
    "knn_accuracy",
    "linear_probe",
    "mean_squared_error",
    "mig",
    "nll_nats",
    "posterior_means",
    "psnr_db",
    "reconstruction_quality",
    "sap",
    "sparsity",
    "ssim",
]
