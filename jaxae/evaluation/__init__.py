"""How good a trained model is; every name says its unit."""

from jaxae.evaluation.frechet import frechet_distance
from jaxae.evaluation.latents import active_units, codebook_usage, posterior_means
from jaxae.evaluation.likelihood import (
    elbo_terms,
    is_generative,
    log_weights,
    nll_nats,
)
from jaxae.evaluation.quality import (
    mean_squared_error,
    psnr_db,
    reconstruction_quality,
    ssim,
)
from jaxae.evaluation.sparsity import sparsity
from jaxae.evaluation.summary import NAMES, evaluate

__all__ = [
    "NAMES",
    "active_units",
    "codebook_usage",
    "elbo_terms",
    "evaluate",
    "frechet_distance",
    "is_generative",
    "log_weights",
    "mean_squared_error",
    "nll_nats",
    "posterior_means",
    "psnr_db",
    "reconstruction_quality",
    "sparsity",
    "ssim",
]
