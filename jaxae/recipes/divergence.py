"""Auto-encoders whose codes match the prior by a divergence of the two."""

from __future__ import annotations  # help() shows names, not types

from jaxae.bottlenecks.gaussian import Gaussian
from jaxae.bottlenecks.matched import Matched
from jaxae.checks import as_finite
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives import ELBO, MMD, Chain, CovariancePenalty, Reconstruction
from jaxae.objectives.base import Weight
from jaxae.objectives.covariance import Kind
from jaxae.objectives.mmd import KernelName
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe


def wae_mmd(
    shape: Shape,
    latent_dim: int = 8,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
    weight: Weight = 10.0,
    kernel: KernelName = "inverse_multiquadratic",
    bandwidth: float = 1.0,
) -> Recipe:
    """The Wasserstein auto-encoder with MMD (Tolstikhin et al. 2018, algorithm 2).

    https://arxiv.org/abs/1711.01558. Codes are deterministic and matched to N(0, I).
    Under the Gaussian likelihood the cost is half the squared error, so the paper's λ
    is twice `weight`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        weight: Weight of the maximum mean discrepancy; or a schedule.
        kernel: The kernel of the maximum mean discrepancy.
        bandwidth: Of the kernel: the standard deviation of the prior in a dimension.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.wae_mmd((28, 28, 1), latent_dim=2)
    """
    module = compose_model(shape, network, Matched(latent_dim), likelihood)
    objective = Chain((Reconstruction(), MMD(weight, kernel, bandwidth)))
    return compose_recipe(module, objective, title="Wasserstein auto-encoder")


def info_vae_mmd(
    shape: Shape,
    latent_dim: int = 16,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    alpha: float = 0.5,
    weight: Weight = 100.0,
    kernel: KernelName = "rbf",
    bandwidth: float = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """InfoVAE with MMD (Zhao et al. 2019), https://arxiv.org/abs/1706.02262.

    At `alpha` 1 nothing but the MMD holds the codes to the prior; at 0 with weight 0 it
    is the VAE.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        alpha: 1 minus the weight of the rate, at most 1.
        weight: Weight of the maximum mean discrepancy between q(z) and p(z), which is
            α + λ - 1 in the paper; or a schedule.
        kernel: The kernel of the maximum mean discrepancy.
        bandwidth: Of the kernel: the standard deviation of the prior in a dimension.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.info_vae_mmd((28, 28, 1), latent_dim=2)
    """
    alpha = as_finite("alpha", alpha)
    require(alpha <= 1, "alpha", alpha, "a number of at most 1")
    module = compose_model(shape, network, Gaussian(latent_dim), likelihood)
    objective = Chain((ELBO(1.0 - alpha), MMD(weight, kernel, bandwidth)))
    title = "information-maximising variational auto-encoder (InfoVAE)"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)


def dip_vae(
    shape: Shape,
    latent_dim: int = 10,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    kind: Kind = "i",
    off_diagonal: Weight = 10.0,
    diagonal: Weight | None = None,
    num_samples: int = 1,
) -> Recipe:
    """DIP-VAE: the covariance of codes is to be that of the prior (Kumar et al. 2018).

    https://openreview.net/forum?id=H1kG7GZAW; see `objectives.CovariancePenalty`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        kind: Of the means of q(z | x) in DIP-VAE-I; of the codes in DIP-VAE-II.
        off_diagonal: Weight of the squared covariances; or a schedule.
        diagonal: Weight of the squared distances of the variances from 1; or a
            schedule. Unless given, 100 in DIP-VAE-I and 10 in DIP-VAE-II, which are ten
            times and once the default of the other weight, as in the paper.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.dip_vae((28, 28, 1), latent_dim=2, kind="ii")
    """
    module = compose_model(shape, network, Gaussian(latent_dim), likelihood)
    if diagonal is None:
        diagonal = 100.0 if kind == "i" else 10.0
    penalty = CovariancePenalty(kind, off_diagonal, diagonal)
    title = "variational auto-encoder with a disentangled inferred prior (DIP-VAE)"
    objective = Chain((ELBO(), penalty))
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
