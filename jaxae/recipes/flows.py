"""Variational auto-encoders whose posterior is a normalising flow."""

from __future__ import annotations  # help() shows names, not types

from jaxae import objectives
from jaxae.bottlenecks.flow import Flow, FlowPosterior
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe


def flow_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    flow: Flow = "iaf",
    layers: int = 4,
    hidden: tuple[int, ...] = (64,),
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    beta: Weight = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """The VAE whose posterior goes through the layers of a flow.

    Planar and radial flows (Rezende & Mohamed 2015, https://arxiv.org/abs/1505.05770),
    inverse autoregressive ones (Kingma et al. 2016, https://arxiv.org/abs/1606.04934)
    and masked autoregressive ones (Papamakarios et al. 2017,
    https://arxiv.org/abs/1705.07057); see `bottlenecks.FlowPosterior`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        flow: The kind of the layers.
        layers: How many of them.
        hidden: Units of the masked networks inside autoregressive layers.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rate, the KL divergence from the prior; or a schedule.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.flow_vae((28, 28, 1), latent_dim=2, flow="planar")
    """
    bottleneck = FlowPosterior(latent_dim, flow, layers, hidden)
    module = compose_model(shape, network, bottleneck, likelihood)
    objective = objectives.ELBO(beta)
    title = "variational auto-encoder with a flow posterior"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
