"""Variational auto-encoders whose posterior is a normalising flow."""

from jaxae import objectives
from jaxae.bottlenecks.flow import Flow, FlowPosterior
from jaxae.likelihoods import Likelihood
from jaxae.objectives.base import Weight
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Recipe


def flow_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    flow: Flow = "iaf",
    layers: int = 4,
    hidden: tuple[int, ...] = (64,),
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """The VAE whose posterior goes through `layers` flow layers.

    "planar" and "radial" (Rezende & Mohamed 2015), "iaf" (Kingma et al. 2016) or "maf"
    (Papamakarios et al. 2017); see `bottlenecks.FlowPosterior`, also for `hidden`.
    `beta` is a number or a schedule, see `objectives.elbo`.
    """
    bottleneck = FlowPosterior(latent_dim, flow, layers, hidden)
    model = compose_model(shape, network, bottleneck, likelihood)
    return compose_recipe(model, objectives.elbo(beta), num_samples=num_samples)
