"""The hyperspherical variational auto-encoder."""

from __future__ import annotations  # help() shows names, not types

from jaxae import objectives
from jaxae.bottlenecks.spherical import VonMisesFisher
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe


def hyperspherical_vae(
    shape: Shape,
    latent_dim: int = 10,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    beta: Weight = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """Codes on a sphere, with a uniform prior (Davidson et al. 2018).

    https://arxiv.org/abs/1804.00891

    Args:
        shape: The shape of one example.
        latent_dim: Dimensions of the space around the sphere, at least 2.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rate, the KL divergence from the prior; or a schedule.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.hyperspherical_vae((28, 28, 1), latent_dim=3)
    """
    module = compose_model(shape, network, VonMisesFisher(latent_dim), likelihood)
    objective = objectives.ELBO(beta)
    title = "hyperspherical variational auto-encoder"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
