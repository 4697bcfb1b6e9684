"""Variational auto-encoders of codes of codes."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, likelihoods, objectives
from jaxae.checks import check_sizes
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.models.autoencoder import AutoEncoder
from jaxae.models.stacked import Stacked
from jaxae.networks import FullyConnected, Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe
from jaxae.recipes.ladder import WARM_UP

LIMITS = (-6.0, 2.0)
"""Bounds of the posteriors' log std: what one layer draws is what the next one sees."""

BOUNDED = FullyConnected((128,), activation="tanh")


def stacked_vae(
    shape: Shape,
    latent_dims: tuple[int, ...] = (32, 16),
    *,
    network: Networks = "mlp",
    upper_network: Networks = BOUNDED,
    likelihood: str | Likelihood | None = None,
    beta: Weight = WARM_UP,
    num_samples: int = 1,
) -> Recipe:
    """Several stochastic layers, each inferred from the one below; see `Stacked`.

    Rezende et al. 2014, https://arxiv.org/abs/1401.4082. With `objectives.IWAE()` in
    place of the ELBO that of Burda et al. 2016, https://arxiv.org/abs/1509.00519.

    Args:
        shape: The shape of one example.
        latent_dims: The latent dimensions of every layer, the one next to x first; at
            least two.
        network: Encoder and decoder between x and the first layer, by name, as a pair
            of `jaxae.networks`, or as two modules of your own.
        upper_network: Likewise of every further layer; unless given, of 128 units
            with tanh, of which the scales of the codes above cannot grow far.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rates; or a schedule: a warm-up keeps the upper layers in
            use.
        num_samples: Samples of the codes per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.stacked_vae((28, 28, 1), latent_dims=(100, 50))
    """
    check_sizes("latent_dims", latent_dims)
    require(len(latent_dims) > 1, "latent_dims", latent_dims, "two sizes or more")
    first, *further = latent_dims
    lower = compose_model(
        shape, network, bottlenecks.Gaussian(first, LIMITS), likelihood
    )
    uppers, width = [], first
    for size in further:
        uppers.append(_layer(width, size, upper_network))
        width = size
    module: AutoEncoder | Stacked = uppers.pop()
    for each in (*reversed(uppers), lower):
        module = Stacked(each, module)
    title = "variational auto-encoder with stacked codes"
    return compose_recipe(
        module, objectives.ELBO(beta), num_samples=num_samples, title=title
    )


def _layer(width: int, latent_dim: int, network: Networks) -> AutoEncoder:
    """A model of codes with `width` dimensions, as Gaussians with a std for each."""
    likelihood = likelihoods.Gaussian("per_value")
    bottleneck = bottlenecks.Gaussian(latent_dim, LIMITS)
    return compose_model((width,), network, bottleneck, likelihood)
