"""The conditional variational auto-encoder."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, networks, objectives, views
from jaxae.checks import check_count
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape, as_pair
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe


def conditional_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    num_labels: int = 10,
    network: Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """p(x | z, label) and q(z | x, label) (Sohn et al. 2015), with p(z) = N(0, I).

    https://papers.nips.cc/paper/5775. Both networks see the label as a one-hot code, so
    that z is left with what the label does not say. Data need a "label" [n] of whole
    numbers below `num_labels`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        num_labels: How many labels there are.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Under "bernoulli" the data are
            binarised afresh at every step.
        beta: Weight of the rate, the KL divergence from the prior; or a schedule.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.conditional_vae(
        ...     (28, 28, 1), latent_dim=2, num_labels=10
        ... )
    """
    check_count("num_labels", num_labels)
    pair = as_pair(network)
    flatten = isinstance(pair.encoder(), networks.MLP)
    view = views.Condition("label", categories=num_labels, flatten=flatten)
    bottleneck = bottlenecks.Gaussian(latent_dim)
    module = compose_model(shape, pair, bottleneck, likelihood, view=view)
    objective = objectives.ELBO(beta)
    title = "conditional variational auto-encoder"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
