"""Variational auto-encoders with another bound, or another weighting of its parts."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, objectives
from jaxae.checks import check_count
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.objectives.importance import Gradient
from jaxae.objectives.total_correlation import Sampling
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe


def iwae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    num_samples: int = 5,
    gradient: Gradient = "plain",
    groups: int = 1,
    elbo_weight: Weight = 0.0,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
) -> Recipe:
    """The importance-weighted auto-encoder (Burda et al. 2016).

    https://arxiv.org/abs/1509.00519; MIWAE, PIWAE and CIWAE (Rainforth et al. 2018,
    https://arxiv.org/abs/1802.04537) by `groups`, `gradient` and `elbo_weight`, see
    `objectives.IWAE`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        num_samples: K, the samples of the code per example and step, of all groups.
        gradient: The estimator of the gradient; "piwae" trains the encoder on groups.
        groups: Groups that the samples are divided into: MIWAE above 1.
        elbo_weight: Weight of the ELBO beside the bound, from 0 to 1: CIWAE; or a
            schedule.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.iwae((28, 28, 1), latent_dim=2, num_samples=5)
    """
    objective = objectives.IWAE(gradient, groups, elbo_weight)
    check_count("num_samples", num_samples)
    whole = num_samples % groups == 0
    require(whole, "num_samples", num_samples, f"a multiple of groups = {groups}")
    bottleneck = bottlenecks.Gaussian(latent_dim)
    module = compose_model(shape, network, bottleneck, likelihood)
    title = "importance-weighted auto-encoder"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)


def beta_tc_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    data_size: int,
    beta: Weight = 6.0,
    alpha: Weight = 1.0,
    gamma: Weight = 1.0,
    sampling: Sampling = "weighted",
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
) -> Recipe:
    """A VAE with a weight on the total correlation (β-TCVAE, Chen et al. 2018).

    https://arxiv.org/abs/1802.04942; see `objectives.BetaTCVAE`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        data_size: The number of training examples.
        beta: Weight of the total correlation; or a schedule.
        alpha: Weight of the mutual information; or a schedule.
        gamma: Weight of the KL divergences of single dimensions; or a schedule.
        sampling: The estimator of the aggregate posterior from a batch.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.beta_tc_vae(
        ...     (28, 28, 1), latent_dim=2, data_size=60_000
        ... )
    """
    bottleneck = bottlenecks.Gaussian(latent_dim)
    module = compose_model(shape, network, bottleneck, likelihood)
    objective = objectives.BetaTCVAE(data_size, beta, alpha, gamma, sampling)
    title = "total-correlation variational auto-encoder (β-TC-VAE)"
    return compose_recipe(module, objective, title=title)
