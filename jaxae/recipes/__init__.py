"""The families by name: each is a choice of parts."""

from jaxae.recipes.adversarial import adversarial_autoencoder, factor_vae, vae_gan
from jaxae.recipes.base import (
    Networks,
    Shape,
    compose_model,
    compose_recipe,
    conv,
    mlp,
)
from jaxae.recipes.classic import (
    autoencoder,
    denoising_autoencoder,
    inpainting_autoencoder,
    keras_denoiser,
)
from jaxae.recipes.conditional import conditional_vae
from jaxae.recipes.discrete import fsq_autoencoder, lfq_autoencoder, vqvae
from jaxae.recipes.divergence import info_vae_mmd, wae_mmd
from jaxae.recipes.flows import flow_vae
from jaxae.recipes.importance import beta_tc_vae, iwae
from jaxae.recipes.ladder import ladder_vae
from jaxae.recipes.masked import masked_autoencoder
from jaxae.recipes.priors import mixture_vae, vamp_vae
from jaxae.recipes.regularized import contractive_autoencoder, regularized_autoencoder
from jaxae.recipes.sparse import sparse_autoencoder
from jaxae.recipes.spherical import hyperspherical_vae
from jaxae.recipes.variational import vae

FAMILIES = (
    autoencoder,
    denoising_autoencoder,
    inpainting_autoencoder,
    keras_denoiser,
    vae,
    iwae,
    beta_tc_vae,
    factor_vae,
    vamp_vae,
    mixture_vae,
    flow_vae,
    conditional_vae,
    hyperspherical_vae,
    adversarial_autoencoder,
    vae_gan,
    wae_mmd,
    info_vae_mmd,
    contractive_autoencoder,
    regularized_autoencoder,
    vqvae,
    fsq_autoencoder,
    lfq_autoencoder,
    ladder_vae,
    sparse_autoencoder,
    masked_autoencoder,
)
"""Every recipe."""

__all__ = [
    "FAMILIES",
    "Networks",
    "Shape",
    "adversarial_autoencoder",
    "autoencoder",
    "beta_tc_vae",
    "compose_model",
    "compose_recipe",
    "conditional_vae",
    "contractive_autoencoder",
    "conv",
    "denoising_autoencoder",
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
    "mlp",
    "regularized_autoencoder",
    "sparse_autoencoder",
    "vae",
    "vae_gan",
    "vamp_vae",
    "vqvae",
    "wae_mmd",
]
