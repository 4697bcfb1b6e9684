"""The conditional variational auto-encoder."""

from jaxae import bottlenecks, networks, objectives, views
from jaxae.likelihoods import Likelihood
from jaxae.objectives.base import Weight
from jaxae.recipes.base import (
    Networks,
    Shape,
    as_networks,
    compose_model,
    compose_recipe,
)
from jaxae.types import Recipe


def conditional_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    num_labels: int = 10,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """p(x | z, label) and q(z | x, label) (Sohn et al. 2015), with p(z) = N(0, I).

    Both networks see the label as a one-hot code, so that z is left with what the label
    does not say. Data need a "label" [n] of whole numbers below `num_labels`.
    """
    pair = as_networks(network)
    view = views.labels(num_labels, flatten=isinstance(pair[0], networks.MLP))
    bottleneck = bottlenecks.Gaussian(latent_dim)
    model = compose_model(shape, pair, bottleneck, likelihood, view=view)
    return compose_recipe(model, objectives.elbo(beta), num_samples=num_samples)
