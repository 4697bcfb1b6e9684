"""Variational auto-encoders with learned priors."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, objectives
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.priors import MixturePrior, VampPrior
from jaxae.recipe import Recipe
from jaxae.recipes.base import as_view, compose_model, compose_recipe
from jaxae.views import Condition


def vamp_vae(
    shape: Shape,
    latent_dim: int = 40,
    *,
    components: int = 500,
    conditions: tuple[Condition, ...] = (),
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    beta: Weight = 1.0,
    num_samples: int = 1,
    log_std_range: tuple[float, float] | None = (-3.0, 1.0),
) -> Recipe:
    """The VAE whose prior is the mixture of pseudo-inputs' posteriors.

    Tomczak & Welling 2018, https://arxiv.org/abs/1705.07120; see `priors.VampPrior`. A
    step encodes the pseudo-inputs beside the batch. Examples must lie in [0, 1], as
    pictures do; `preparation.MinMax` brings others there.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        components: Pseudo-inputs, which are learned; at least one for each combination
            of categories that the encoder is shown.
        conditions: Further arrays of the data, and who is shown them.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rate, the KL divergence from the prior; or a schedule.
        num_samples: Samples of the code per example and step.
        log_std_range: Lowest and highest logarithm of the posterior's standard
            deviations.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.vamp_vae((28, 28, 1), latent_dim=2, components=50)
    """
    bottleneck = bottlenecks.Gaussian(latent_dim, log_std_range)
    prior, view = VampPrior(shape, components), as_view(conditions, network)
    module = compose_model(
        shape, network, bottleneck, likelihood, prior=prior, view=view
    )
    objective = objectives.ELBO(beta)
    title = "variational auto-encoder with a VampPrior"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)


def mixture_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    components: int = 10,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    beta: Weight = 1.0,
    num_samples: int = 1,
    log_std_range: tuple[float, float] | None = None,
) -> Recipe:
    """The VAE whose prior is a learned mixture of Gaussians, see `priors.MixturePrior`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        components: Gaussians of the mixture.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rate, the KL divergence from the prior; or a schedule.
        num_samples: Samples of the code per example and step.
        log_std_range: Lowest and highest logarithm of the posterior's standard
            deviations.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.mixture_vae((28, 28, 1), latent_dim=2, components=5)
    """
    bottleneck = bottlenecks.Gaussian(latent_dim, log_std_range)
    prior = MixturePrior(latent_dim, components)
    module = compose_model(shape, network, bottleneck, likelihood, prior=prior)
    objective = objectives.ELBO(beta)
    title = "variational auto-encoder with a mixture prior"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
