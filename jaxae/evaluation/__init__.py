"""How good a trained model is; every name says its unit."""

from jaxae.evaluation.dci import dci as dci
from jaxae.evaluation.disentanglement import factor_vae_score as factor_vae_score
from jaxae.evaluation.disentanglement import mig as mig
from jaxae.evaluation.disentanglement import sap as sap
from jaxae.evaluation.frechet import frechet_distance as frechet_distance
from jaxae.evaluation.latents import active_units as active_units
from jaxae.evaluation.latents import codebook_usage as codebook_usage
from jaxae.evaluation.latents import posterior_means as posterior_means
from jaxae.evaluation.likelihood import elbo_terms as elbo_terms
from jaxae.evaluation.likelihood import is_generative as is_generative
from jaxae.evaluation.likelihood import nll_nats as nll_nats
from jaxae.evaluation.probes import knn_accuracy as knn_accuracy
from jaxae.evaluation.probes import linear_probe as linear_probe
from jaxae.evaluation.quality import mean_squared_error as mean_squared_error
from jaxae.evaluation.quality import psnr_db as psnr_db
from jaxae.evaluation.quality import reconstruction_quality as reconstruction_quality
from jaxae.evaluation.quality import ssim as ssim
from jaxae.evaluation.sparsity import atoms as atoms
from jaxae.evaluation.sparsity import sparsity as sparsity
from jaxae.evaluation.summary import NAMES as NAMES
from jaxae.evaluation.summary import evaluate as evaluate
