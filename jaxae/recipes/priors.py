"""Variational auto-encoders with learned priors."""

from flax import linen as nn

from jaxae import bottlenecks, objectives
from jaxae.likelihoods import Likelihood
from jaxae.objectives.base import Weight
from jaxae.priors import MixturePrior, VampPrior
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Recipe

LogStdRange = tuple[float, float] | None


def vamp_vae(
    shape: Shape,
    latent_dim: int = 40,
    *,
    components: int = 500,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    num_samples: int = 1,
    log_std_range: LogStdRange = (-3.0, 1.0),
) -> Recipe:
    """The VAE whose prior is the mixture of `components` pseudo-inputs' posteriors.

    Tomczak & Welling (2018); see `priors.VampPrior`. A step encodes the pseudo-inputs
    beside the batch. `beta` is a number or a schedule, see `objectives.elbo`.
    """
    prior = VampPrior(shape, components)
    bottleneck = bottlenecks.Gaussian(latent_dim, log_std_range)
    return _recipe(shape, network, bottleneck, likelihood, prior, beta, num_samples)


def mixture_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    components: int = 10,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    num_samples: int = 1,
    log_std_range: LogStdRange = None,
) -> Recipe:
    """The VAE whose prior is a learned mixture of `components` Gaussians.

    See `priors.MixturePrior`. `beta` is a number or a schedule, see `objectives.elbo`.
    """
    prior = MixturePrior(latent_dim, components)
    bottleneck = bottlenecks.Gaussian(latent_dim, log_std_range)
    return _recipe(shape, network, bottleneck, likelihood, prior, beta, num_samples)


def _recipe(
    shape: Shape,
    network: str | Networks,
    bottleneck: bottlenecks.Bottleneck,
    likelihood: str | Likelihood,
    prior: nn.Module,
    beta: Weight,
    num_samples: int,
) -> Recipe:
    model = compose_model(shape, network, bottleneck, likelihood, prior=prior)
    return compose_recipe(model, objectives.elbo(beta), num_samples=num_samples)
