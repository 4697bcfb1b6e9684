"""The variational auto-encoder and what is made of it."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, objectives
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe


def vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    beta: Weight = 1.0,
    free_bits: Weight = 0.0,
    capacity: Weight | None = None,
    num_samples: int = 1,
    log_std_range: tuple[float, float] | None = None,
    input_shape: Shape | None = None,
) -> Recipe:
    """The variational auto-encoder (Kingma & Welling 2014), or β-VAE.

    https://arxiv.org/abs/1312.6114; https://openreview.net/forum?id=Sy2fzU9gl

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rate, the KL divergence from the prior; or a schedule.
        free_bits: Nats per latent dimension that the rate charges at least; or a
            schedule.
        capacity: Nats that the rate is held at; or a schedule. None for no such charge.
        num_samples: Samples of the code per example and step.
        log_std_range: Lowest and highest logarithm of the posterior's standard
            deviations.
        input_shape: The shape of what the encoder sees of one example, where data bring
            "inputs" of another shape than x.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.vae((28, 28, 1), latent_dim=2, beta=4.0)
    """
    bottleneck = bottlenecks.Gaussian(latent_dim, log_std_range)
    module = compose_model(
        shape, network, bottleneck, likelihood, input_shape=input_shape
    )
    objective = objectives.ELBO(beta, free_bits=free_bits, capacity=capacity)
    title = "variational auto-encoder"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
