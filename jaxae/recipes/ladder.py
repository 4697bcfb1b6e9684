"""The hierarchical variational auto-encoder."""

import optax

from jaxae import objectives
from jaxae.ladder import LadderVAE
from jaxae.likelihoods import Likelihood
from jaxae.objectives.base import Weight
from jaxae.recipes.base import Shape, as_likelihood, check_shape, compose_recipe
from jaxae.types import Recipe

WARM_UP = optax.linear_schedule(0.0, 1.0, 1000)
"""Over the first 1,000 steps; without one the layers at the top fall out of use."""


def ladder_vae(
    shape: Shape,
    latent_channels: int = 4,
    *,
    channels: tuple[int, ...] = (32, 32, 32),
    stem: int = 16,
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = WARM_UP,
    free_bits: Weight = 0.0,
    num_samples: int = 1,
) -> Recipe:
    """The ladder VAE, with a latent code per entry of `channels`; see `LadderVAE`.

    Sønderby et al. (2016), with the top-down inference of Kingma et al. (2016). `beta`,
    for a warm-up that keeps the upper layers in use, and `free_bits` are numbers or
    schedules, see `objectives.elbo`.
    """
    check_shape(shape)
    model = LadderVAE(
        shape=shape,
        likelihood=as_likelihood(likelihood),
        channels=channels,
        latent_channels=latent_channels,
        stem=stem,
    )
    objective = objectives.elbo(beta, free_bits=free_bits)
    return compose_recipe(model, objective, num_samples=num_samples)
