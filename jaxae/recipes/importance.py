"""Variational auto-encoders with another bound, or another weighting of its parts."""

from jaxae import bottlenecks
from jaxae.checks import check_count
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.objectives import importance, total_correlation
from jaxae.objectives.base import Weight
from jaxae.objectives.importance import Gradient
from jaxae.objectives.total_correlation import Sampling
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Recipe


def iwae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    num_samples: int = 5,
    gradient: Gradient = "plain",
    groups: int = 1,
    elbo_weight: Weight = 0.0,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
) -> Recipe:
    """The importance-weighted auto-encoder (Burda et al. 2016).

    `num_samples` is K, of all `groups` together: MIWAE, PIWAE and CIWAE by `groups`,
    `gradient` and `elbo_weight`, see `objectives.iwae`.
    """
    objective = importance.iwae(
        gradient=gradient, groups=groups, elbo_weight=elbo_weight
    )
    check_count("num_samples", num_samples)
    whole = num_samples % groups == 0
    require(whole, "num_samples", num_samples, f"a multiple of groups = {groups}")
    bottleneck = bottlenecks.Gaussian(latent_dim)
    model = compose_model(shape, network, bottleneck, likelihood)
    return compose_recipe(model, objective, num_samples=num_samples)


def beta_tc_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    data_size: int,
    beta: Weight = 6.0,
    alpha: Weight = 1.0,
    gamma: Weight = 1.0,
    sampling: Sampling = "weighted",
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
) -> Recipe:
    """A VAE with weight `beta` on the total correlation (β-TCVAE, Chen et al. 2018).

    `data_size` is the number of training examples; see `objectives.beta_tc_vae`.
    """
    bottleneck = bottlenecks.Gaussian(latent_dim)
    model = compose_model(shape, network, bottleneck, likelihood)
    objective = total_correlation.beta_tc_vae(data_size, beta, alpha, gamma, sampling)
    return compose_recipe(model, objective)
