"""The families by name: each is a choice of parts.

A family is a function from the shape of one example to a `Recipe`. Its signature and
its docstring are all that the command line, `--help` and the tests know of it.
"""

from types import FunctionType

from jaxae.recipes.adversarial import adversarial_autoencoder, factor_vae, vae_gan
from jaxae.recipes.base import compose_model, compose_recipe
from jaxae.recipes.classic import (
    autoencoder,
    denoising_autoencoder,
    inpainting_autoencoder,
    keras_denoiser,
)
from jaxae.recipes.conditional import conditional_vae
from jaxae.recipes.discrete import fsq_autoencoder, lfq_autoencoder, vqvae
from jaxae.recipes.divergence import dip_vae, info_vae_mmd, wae_mmd
from jaxae.recipes.flows import flow_vae
from jaxae.recipes.importance import beta_tc_vae, iwae
from jaxae.recipes.ladder import ladder_vae
from jaxae.recipes.masked import masked_autoencoder
from jaxae.recipes.priors import mixture_vae, vamp_vae
from jaxae.recipes.regularized import contractive_autoencoder, regularized_autoencoder
from jaxae.recipes.sparse import sparse_autoencoder
from jaxae.recipes.spherical import hyperspherical_vae
from jaxae.recipes.stacked import stacked_vae
from jaxae.recipes.unet import unet
from jaxae.recipes.variational import vae

__all__ = [
    "FAMILIES",
    "adversarial_autoencoder",
    "autoencoder",
    "beta_tc_vae",
    "compose_model",
    "compose_recipe",
    "conditional_vae",
    "contractive_autoencoder",
    "denoising_autoencoder",
    "dip_vae",
    "factor_vae",
    "flow_vae",
    "fsq_autoencoder",
    "hyperspherical_vae",
    "info_vae_mmd",
    "inpainting_autoencoder",
    "iwae",
    "keras_denoiser",
    "ladder_vae",
    "lfq_autoencoder",
    "masked_autoencoder",
    "mixture_vae",
    "regularized_autoencoder",
    "sparse_autoencoder",
    "stacked_vae",
    "unet",
    "vae",
    "vae_gan",
    "vamp_vae",
    "vqvae",
    "wae_mmd",
]

FAMILIES = tuple(
    each
    for each in list(vars().values())
    if isinstance(each, FunctionType)
    and each.__annotations__["return"] == "Recipe"
    and each.__name__ != "compose_recipe"
)
"""Every recipe."""
