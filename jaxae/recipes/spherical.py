"""The hyperspherical variational auto-encoder."""

from jaxae import objectives
from jaxae.bottlenecks.spherical import VonMisesFisher
from jaxae.likelihoods import Likelihood
from jaxae.objectives.base import Weight
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Recipe


def hyperspherical_vae(
    shape: Shape,
    latent_dim: int = 10,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """Codes on a sphere, with a uniform prior (Davidson et al. 2018).

    `latent_dim` counts the dimensions around the sphere, at least 2. Under the
    Bernoulli likelihood the data are binarised afresh at every step.
    """
    model = compose_model(shape, network, VonMisesFisher(latent_dim), likelihood)
    return compose_recipe(model, objectives.elbo(beta), num_samples=num_samples)
