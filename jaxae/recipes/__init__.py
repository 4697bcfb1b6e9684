"""The families by name: each is a choice of parts.

A family is a function from the shape of one example to a `Recipe`. Its signature and
its docstring are all that the command line, `--help` and the tests know of it.
"""

from types import FunctionType

from jaxae.recipes.adversarial import adversarial_autoencoder as adversarial_autoencoder
from jaxae.recipes.adversarial import factor_vae as factor_vae
from jaxae.recipes.adversarial import vae_gan as vae_gan
from jaxae.recipes.base import compose_model as compose_model
from jaxae.recipes.base import compose_recipe as compose_recipe
from jaxae.recipes.classic import autoencoder as autoencoder
from jaxae.recipes.classic import denoising_autoencoder as denoising_autoencoder
from jaxae.recipes.classic import inpainting_autoencoder as inpainting_autoencoder
from jaxae.recipes.classic import keras_denoiser as keras_denoiser
from jaxae.recipes.conditional import conditional_vae as conditional_vae
from jaxae.recipes.discrete import fsq_autoencoder as fsq_autoencoder
from jaxae.recipes.discrete import lfq_autoencoder as lfq_autoencoder
from jaxae.recipes.discrete import vqvae as vqvae
from jaxae.recipes.divergence import dip_vae as dip_vae
from jaxae.recipes.divergence import info_vae_mmd as info_vae_mmd
from jaxae.recipes.divergence import wae_mmd as wae_mmd
from jaxae.recipes.flows import flow_vae as flow_vae
from jaxae.recipes.importance import beta_tc_vae as beta_tc_vae
from jaxae.recipes.importance import iwae as iwae
from jaxae.recipes.ladder import ladder_vae as ladder_vae
from jaxae.recipes.masked import masked_autoencoder as masked_autoencoder
from jaxae.recipes.priors import mixture_vae as mixture_vae
from jaxae.recipes.priors import vamp_vae as vamp_vae
from jaxae.recipes.regularized import contractive_autoencoder as contractive_autoencoder
from jaxae.recipes.regularized import regularized_autoencoder as regularized_autoencoder
from jaxae.recipes.sparse import sparse_autoencoder as sparse_autoencoder
from jaxae.recipes.spherical import hyperspherical_vae as hyperspherical_vae
from jaxae.recipes.stacked import stacked_vae as stacked_vae
from jaxae.recipes.unet import unet as unet
from jaxae.recipes.variational import vae as vae

FAMILIES = tuple(
    each
    for each in list(vars().values())
    if isinstance(each, FunctionType)
    and each.__annotations__["return"] == "Recipe"
    and each.__name__ != "compose_recipe"
)
"""Every recipe."""
