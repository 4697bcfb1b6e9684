"""Auto-encoders whose codes match the prior by a divergence of the two."""

from jaxae.bottlenecks.gaussian import Gaussian
from jaxae.bottlenecks.matched import Matched
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.objectives.base import Weight, chain
from jaxae.objectives.elbo import elbo
from jaxae.objectives.mmd import KernelName, mmd
from jaxae.objectives.reconstruction import reconstruction
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Recipe


def wae_mmd(
    shape: Shape,
    latent_dim: int = 8,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
    weight: Weight = 10.0,
    kernel: KernelName = "inverse_multiquadratic",
    bandwidth: float = 1.0,
) -> Recipe:
    """The Wasserstein auto-encoder with MMD (Tolstikhin et al. 2018, algorithm 2).

    Codes are deterministic and matched to N(0, I). Under the Gaussian likelihood the
    cost is half the squared error, so the paper's λ is twice `weight`. `kernel` and
    `bandwidth` are those of `objectives.mmd`.
    """
    model = compose_model(shape, network, Matched(latent_dim), likelihood)
    divergence = mmd(weight, kernel=kernel, bandwidth=bandwidth)
    return compose_recipe(model, chain(reconstruction(), divergence))


def info_vae_mmd(
    shape: Shape,
    latent_dim: int = 16,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    alpha: float = 0.5,
    weight: Weight = 100.0,
    kernel: KernelName = "rbf",
    bandwidth: float = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """InfoVAE with MMD (Zhao et al. 2019).

    The rate is charged with 1 - `alpha` and the MMD between q(z) and p(z) with
    `weight`, which is α + λ - 1 in the paper. `alpha` is at most 1, where nothing but
    the MMD holds the codes to the prior; at 0 with weight 0 it is the VAE.
    """
    require(alpha <= 1, "alpha", alpha, "a number of at most 1")
    model = compose_model(shape, network, Gaussian(latent_dim), likelihood)
    divergence = mmd(weight, kernel=kernel, bandwidth=bandwidth)
    objective = chain(elbo(1.0 - alpha), divergence)
    return compose_recipe(model, objective, num_samples=num_samples)
