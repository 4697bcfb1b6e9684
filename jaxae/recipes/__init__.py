"""The families by name: each is a choice of parts."""

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
from jaxae.recipes.variational import vae

FAMILIES = (
    autoencoder,
    denoising_autoencoder,
    inpainting_autoencoder,
    keras_denoiser,
    vae,
)
"""Every recipe."""

__all__ = [
    "FAMILIES",
    "Networks",
    "Shape",
    "autoencoder",
    "compose_model",
    "compose_recipe",
    "conv",
    "denoising_autoencoder",
    "inpainting_autoencoder",
    "keras_denoiser",
    "mlp",
    "vae",
]
