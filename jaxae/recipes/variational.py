"""The variational auto-encoder and what is made of it."""

from jaxae import bottlenecks, objectives
from jaxae.likelihoods import Likelihood
from jaxae.objectives.base import Weight
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Recipe


def vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    free_bits: Weight = 0.0,
    capacity: Weight | None = None,
    num_samples: int = 1,
    log_std_range: tuple[float, float] | None = None,
) -> Recipe:
    """The variational auto-encoder (Kingma & Welling 2014), or β-VAE.

    `beta`, `free_bits` and `capacity` are numbers or schedules, see `objectives.elbo`.
    Under the Bernoulli likelihood the data are binarised afresh at every step.
    """
    bottleneck = bottlenecks.Gaussian(latent_dim, log_std_range)
    model = compose_model(shape, network, bottleneck, likelihood)
    objective = objectives.elbo(beta, free_bits=free_bits, capacity=capacity)
    return compose_recipe(model, objective, num_samples=num_samples)
